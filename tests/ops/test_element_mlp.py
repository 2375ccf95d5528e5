"""The perceptrons of each element's experts: both ways of summing them agree, with derivatives of two orders."""

from __future__ import annotations

import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_md.ops import element_mlp, expert_contract, expert_expand, expert_outer

module = sys.modules["janus_md.ops.element_mlp"]  # the package has the function under that name
NUM_EXPERTS, WIDTHS = 5, (4, 12, 8)


def row_by_row(x, w1, w2, experts, gates, counts):
    """The sum as its doc-string has it."""
    species = torch.repeat_interleave(counts)
    hidden = F.silu(torch.einsum("nki,njih->njkh", x, w1[experts[species]]))
    return torch.einsum("nj,njkh,njho->nko", gates[species], hidden, w2[experts[species]])


def derivatives(function, inputs, experts, counts):
    """Values, forces, and what a loss of both asks of every input."""
    x, w1, w2, gates = (value.clone().requires_grad_() for value in inputs)
    values = function(x, w1, w2, experts, gates, counts)
    (forces,) = torch.autograd.grad(values.sin().sum(), x, create_graph=True)
    loss = values.square().sum() + forces.square().sum()
    return [values, forces, *torch.autograd.grad(loss, [x, w1, w2, gates])]


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
    inputs, hidden, outputs = WIDTHS
    experts = torch.stack([torch.randperm(NUM_EXPERTS)[:active] for _ in counts])
    values = (
        torch.randn(sum(counts), slots, inputs),
        torch.randn(NUM_EXPERTS, inputs, hidden),
        torch.randn(NUM_EXPERTS, hidden, outputs),
        torch.randn(len(counts), active),
    )
    rows = torch.tensor(counts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_weights_are_few", lambda *_: side_by_side)
        found = derivatives(element_mlp, values, experts, rows)
    expected = derivatives(row_by_row, [value.double() for value in values], experts, rows)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(
            one.double(), other, rtol=1e-4, atol=1e-4 * float(other.detach().abs().max())
        )


@pytest.mark.parametrize("widths", [(4, 8), (3, 5)], ids=["groups at once", "one by one"])
def test_single_precision_as_double(widths):
    """Widths decide whether torch's product of groups is taken; expert 3 has no rows."""
    torch.manual_seed(0)
    experts = torch.tensor([[0, 2], [2, 1], [1, 0], [0, 2], [2, 0]])
    x, h = torch.randn(5, 3, widths[0]), torch.randn(5, 2, 3, widths[1])
    weights = torch.randn(4, *widths)
    for single, double in (
        (expert_expand(x, weights, experts), expert_expand(x.double(), weights.double(), experts)),
        (
            expert_contract(h, weights.transpose(1, 2), experts),
            expert_contract(h.double(), weights.double().transpose(1, 2), experts),
        ),
        (expert_outer(x, h, experts, 4), expert_outer(x.double(), h.double(), experts, 4)),
    ):
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_wide_layers_of_few_rows_send_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy of an element's weights where they are more than the rows."""
    monkeypatch.setattr(module, "_side_by_side", lambda *_: pytest.fail("weights were copied"))
    w1, w2 = torch.randn(4, 256, 256), torch.randn(4, 256, 256)
    experts, gates = torch.tensor([[0, 1], [2, 3]]), torch.full((2, 2), 0.5)
    found = element_mlp(torch.randn(3, 1, 256), w1, w2, experts, gates, torch.tensor([1, 2]))
    assert found.shape == (3, 1, 256)
