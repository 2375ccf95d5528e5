"""The expert products are each other's derivatives, to second order, eagerly and traced."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from janus_md.ops import expert_contract, expert_expand, expert_outer, expert_products

NUM_EXPERTS = 4


@pytest.fixture
def experts():
    """Two experts a row; expert 3 has none."""
    return torch.tensor([[0, 2], [2, 1], [1, 0], [0, 2], [2, 0]])


def loads(experts, number=NUM_EXPERTS):
    return torch.bincount(experts.flatten(), minlength=number)


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def cases(experts):
    rows, active = experts.shape
    x, h = leaf(rows, 3, 4), leaf(rows, active, 3, 5)
    table = experts, loads(experts)
    return {
        "expand": (lambda x, w: expert_expand(x, w, *table), (x, leaf(NUM_EXPERTS, 4, 5))),
        "contract": (lambda h, w: expert_contract(h, w, *table), (h, leaf(NUM_EXPERTS, 5, 4))),
        "outer": (lambda x, h: expert_outer(x, h, *table), (x, h)),
    }


@pytest.mark.parametrize("name", ["expand", "contract", "outer"])
def test_first_and_second_derivatives(name, experts):
    torch.manual_seed(0)
    function, inputs = cases(experts)[name]
    assert gradcheck(function, inputs)
    assert gradgradcheck(function, inputs)


@pytest.mark.parametrize("name", ["expand", "contract", "outer"])
def test_agrees_with_weights_gathered_per_row(name, experts):
    torch.manual_seed(1)
    function, inputs = cases(experts)[name]
    first, second = inputs
    expected = {
        "expand": lambda: torch.einsum("nki,njio->njko", first, second[experts]),
        "contract": lambda: torch.einsum("njkh,njho->nko", first, second[experts]),
        "outer": lambda: torch.zeros(NUM_EXPERTS, 4, 5, dtype=torch.float64).index_add(
            0, experts.flatten(), torch.einsum("nki,njko->njio", first, second).flatten(0, 1)
        ),
    }[name]()
    torch.testing.assert_close(function(*inputs), expected)


@pytest.mark.parametrize("name", ["expand", "contract", "outer"])
def test_registration(name, experts):
    """Schema, fake shapes and dispatch, as torch.library itself checks them."""
    operator = {"expand": expert_expand, "contract": expert_contract, "outer": expert_outer}[name]
    inputs = cases(experts)[name][1]
    torch.library.opcheck(operator, (*inputs, experts, loads(experts)))


def test_forces_ask_for_no_gradient_by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products for it are done once, in the backward pass of the loss, and not in that of the energies."""
    called = []
    honest = expert_products.expert_outer
    monkeypatch.setattr(expert_products, "expert_outer", lambda *a: called.append(1) or honest(*a))
    x = torch.randn(3, 2, 4, requires_grad=True)
    weights = torch.randn(5, 4, 6, requires_grad=True)
    experts = torch.tensor([[0], [3], [3]])
    table = experts, loads(experts, 5)
    energy = expert_products.expert_expand(x, weights, *table).sin().sum()
    (force,) = torch.autograd.grad(energy, x, create_graph=True)
    assert not called
    force.square().sum().backward()
    assert called and weights.grad is not None
    again = expert_products.expert_expand(x, weights, *table)
    (by_leaf,) = torch.autograd.grad(again.sum(), weights)
    assert by_leaf.abs().sum() > 0
