"""The perceptrons of each element's experts, on rows sorted by element.

The sum can be taken in two ways. Rows go to their experts (:mod:`janus_md.ops.expert_products`), which copies rows; or
an element's experts are put side by side as in export, one perceptron k times as wide, and its rows meet them in one
product, which copies weights. Few rows are the sooner done the second way, many rows of wide layers the first.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from janus_md.ops import group_products
from janus_md.ops.expert_products import routed_mlp
from janus_md.ops.group_products import GroupProduct
from janus_md.ops.silu import silu

CALLS = 100_000
"""Floats that can be copied while the expert products' calls, in all derivatives, are made."""


def element_mlp(
    x: Tensor, w1: Tensor, w2: Tensor, experts: Tensor, gates: Tensor, counts: Tensor
) -> Tensor:
    """Σ_j gates[s, j]·silu(x[n]·w1[e])·w2[e] with e = experts[s, j] and s the element of row n.

    Args:
        x: [n, K, in], rows sorted by element. w1: [E, in, hidden]. w2: [E, hidden, out].
        experts: of each element, int64 [S, k] on the CPU. gates: [S, k].
        counts: rows of each element, int64 [S] on the CPU.

    Returns:
        [n, K, out].
    """
    if group_products.fit(x, *w1.shape[1:], w2.shape[2]) and not isinstance(counts, FakeTensor):
        present = counts.nonzero().squeeze(1)
        if _weights_are_few(x, w1, w2, experts.shape[1], len(present)):
            ends = group_products.ends(counts.index_select(0, present), x.shape[1])
            chosen = experts.index_select(0, present), gates.index_select(0, present)
            return _side_by_side(x, w1, w2, *chosen, ends)
    loads = loads_of(experts, counts, w1.shape[0])
    return routed_mlp(x, w1, w2, *by_row(experts, gates, counts, x.shape[0]), loads)


def by_row(experts: Tensor, gates: Tensor, counts: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Experts and gates of all ``rows``, [rows, k], from those of their elements, [S, k]; ``counts``: rows of each.

    Both results are where the gates are.
    """
    counts, experts = (x.to(gates.device, non_blocking=True) for x in (counts, experts))
    species = torch.repeat_interleave(counts, output_size=rows)
    return experts.index_select(0, species), gates.index_select(0, species)


def loads_of(experts: Tensor, counts: Tensor, num_experts: int) -> Tensor:
    """Rows of each expert, int64 [E], from the experts of their elements, [S, k]; ``counts``: rows of each.

    All on the CPU, where a product of any derivative can read them without waiting for a device.
    """
    rows = counts.unsqueeze(1).expand_as(experts)
    return counts.new_zeros(num_experts).scatter_add(0, experts.flatten(), rows.flatten())


def _weights_are_few(x: Tensor, w1: Tensor, w2: Tensor, active: int, elements: int) -> bool:
    """Whether putting experts side by side copies less than sending rows to them."""
    width = w1.shape[1] + w2.shape[2]
    weights = elements * active * w1.shape[2] * width
    rows = x.shape[0] * x.shape[1] * active * (width + 2 * w1.shape[2])
    return weights <= rows + CALLS


def _side_by_side(
    x: Tensor, w1: Tensor, w2: Tensor, experts: Tensor, gates: Tensor, ends: Tensor
) -> Tensor:
    """``experts``, ``gates``: of the elements that are there, [G, k]; ``ends``: of their rows, [G]."""
    (elements, active), (inputs, hidden), outputs = experts.shape, w1.shape[1:], w2.shape[2]
    first = w1.index_select(0, experts.flatten()).view(elements, active, inputs, hidden)
    second = w2.index_select(0, experts.flatten()).view(elements, active, hidden, outputs)
    first = first.transpose(1, 2).reshape(elements, inputs, active * hidden)
    second = (second * gates.view(elements, active, 1, 1)).flatten(1, 2)
    units = silu(GroupProduct.apply(x.flatten(0, 1), first, ends))
    return GroupProduct.apply(units, second, ends).view(*x.shape[:2], outputs)
