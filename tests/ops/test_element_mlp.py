"""The perceptrons of each element's experts: both ways of summing them agree, with derivatives of two orders."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_md.ops import (
    element_mlp,
    expert_contract,
    expert_expand,
    expert_outer,
    group_products,
)

module = sys.modules["janus_md.ops.element_mlp"]  # the package has the function under that name
NUM_EXPERTS, WIDTHS = 5, (4, 12, 8)


def row_by_row(x, w1, w2, experts, gates, counts):
    """The sum as its doc-string has it."""
    species = torch.repeat_interleave(counts)
    hidden = F.silu(torch.einsum("nki,njih->njkh", x, w1[experts[species]]))
    return torch.einsum("nj,njkh,njho->nko", gates[species], hidden, w2[experts[species]])


def derivatives(function, inputs, experts, counts, form=torch.square):
    """Values, forces, and what a loss of both asks of every input."""
    x, w1, w2, gates = (value.clone().requires_grad_() for value in inputs)
    values = function(x, w1, w2, experts, gates, counts)
    (forces,) = torch.autograd.grad(form(values).sum(), x, create_graph=True)
    loss = form(values).sum() + form(forces).sum()
    return [values, forces, *torch.autograd.grad(loss, [x, w1, w2, gates])]


def draw(counts, slots, active):
    """Inputs, experts of each element, and rows of each."""
    inputs, hidden, outputs = WIDTHS
    experts = torch.stack([torch.randperm(NUM_EXPERTS)[:active] for _ in counts])
    values = (
        torch.randn(sum(counts), slots, inputs),
        torch.randn(NUM_EXPERTS, inputs, hidden),
        torch.randn(NUM_EXPERTS, hidden, outputs),
        torch.randn(len(counts), active),
    )
    return values, experts, torch.tensor(counts)


@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any),
    slots=st.integers(1, 3),
    active=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("side_by_side", [True, False])
def test_both_ways_are_the_sum(side_by_side, counts, slots, active, seed):
    torch.manual_seed(seed)
    values, experts, rows = draw(counts, slots, active)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_weights_are_few", lambda *_: side_by_side)
        found = derivatives(element_mlp, values, experts, rows)
    expected = derivatives(row_by_row, [value.double() for value in values], experts, rows)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(
            one.double(), other, rtol=1e-4, atol=1e-4 * float(other.detach().abs().max())
        )


@pytest.mark.parametrize("side_by_side", [True, False])
@pytest.mark.parametrize(
    "form",
    [lambda y: y, lambda y: y.transpose(0, -1).contiguous().transpose(0, -1) * y.detach()],
    ids=["shared memory", "columns first"],
)
def test_gradients_may_lie_in_memory_as_they_like(
    monkeypatch: pytest.MonkeyPatch, form, side_by_side
) -> None:
    """torch's own derivatives of its product of groups refuse those of a plain sum."""
    torch.manual_seed(0)
    values, experts, rows = draw([3, 0, 4], 1, 2)
    monkeypatch.setattr(module, "_weights_are_few", lambda *_: side_by_side)
    found = derivatives(element_mlp, values, experts, rows, form)
    double = [value.double() for value in values]
    expected = derivatives(row_by_row, double, experts, rows, form)
    for one, other in zip(found, expected, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("widths", [(4, 8), (3, 5)], ids=["groups at once", "one by one"])
def test_single_precision_as_double(widths):
    """Widths decide whether torch's product of groups is taken; expert 3 has no rows."""
    torch.manual_seed(0)
    experts = torch.tensor([[0, 2], [2, 1], [1, 0], [0, 2], [2, 0]])
    x, h = torch.randn(5, 3, widths[0]), torch.randn(5, 2, 3, widths[1])
    weights, loads = torch.randn(4, *widths), torch.bincount(experts.flatten(), minlength=4)
    for operator, left, right in (
        (expert_expand, x, weights),
        (expert_contract, h, weights.transpose(1, 2)),
        (expert_outer, x, h),
    ):
        single = operator(left, right, experts, loads)
        double = operator(left.double(), right.double(), experts, loads)
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_wide_layers_of_few_rows_send_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy of an element's weights where they are more than the rows."""
    monkeypatch.setattr(module, "_side_by_side", lambda *_: pytest.fail("weights were copied"))
    w1, w2 = torch.randn(4, 256, 256), torch.randn(4, 256, 256)
    experts, gates = torch.tensor([[0, 1], [2, 3]]), torch.full((2, 2), 0.5)
    found = element_mlp(torch.randn(3, 1, 256), w1, w2, experts, gates, torch.tensor([1, 2]))
    assert found.shape == (3, 1, 256)


def test_rows_of_each_expert_are_counted_without_the_table_of_rows() -> None:
    """Three elements, of which the second is absent; expert 1 has no rows."""
    experts, counts = torch.tensor([[0, 2], [1, 3], [3, 0]]), torch.tensor([4, 0, 5])
    loads = module.loads_of(experts, counts, NUM_EXPERTS)
    table, _ = module.by_row(experts, torch.ones(3, 2), counts, 9)
    assert loads.tolist() == torch.bincount(table.flatten(), minlength=NUM_EXPERTS).tolist()
    assert loads.tolist() == [9, 0, 4, 5, 0]


def test_forces_ask_for_no_gradient_by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Side by side, too, those products are done once, in the backward pass of the loss."""
    called = []
    honest = group_products.outer
    monkeypatch.setattr(group_products, "outer", lambda *a: called.append(1) or honest(*a))
    values, experts, rows = draw([3, 0, 4], 1, 2)
    x, w1, w2, gates = (value.requires_grad_() for value in values)
    energies = element_mlp(x, w1, w2, experts, gates, rows)
    (forces,) = torch.autograd.grad(energies.sin().sum(), x, create_graph=True)
    assert not called
    forces.square().sum().backward()
    assert called and w1.grad is not None and w2.grad is not None
