"""Products of rows with the weights of the experts their atom is routed to.

Three operators that are each other's derivatives, so every order of derivative is made of them:

    expand    y[n, j] = x[n] @ w[e(n, j)]
    contract  y[n] = Σ_j h[n, j] @ w[e(n, j)]
    outer     w[e] = Σ_{n, j: e(n, j) = e} x[n]ᵀ h[n, j]

with e(n, j) the j-th expert of atom n. They are registered with ``torch.library``, so compiled and exported graphs keep
them, and they gather rows inside: no copy of the tokens per expert outlives a product. How many rows each expert has is
known on the CPU before: a product does not wait for a device to tell.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from janus_md.ops import group_products
from janus_md.ops.silu import silu

HAS_TRITON = find_spec("triton") is not None
LARGEST = 2**21
"""Numbers in the matrices of experts that are one launch; products with larger ones are worth a launch each."""


def in_one_launch(x: Tensor, inputs: int, outputs: int) -> bool:
    """Whether the kernels take rows ``x`` and matrices of these widths."""
    exact = x.dtype in (torch.float32, torch.float64)  # sums are kept in it
    return x.is_cuda and exact and HAS_TRITON and inputs * outputs <= LARGEST


@torch.library.custom_op("janus::expert_expand", mutates_args=())
def expert_expand(x: Tensor, weights: Tensor, experts: Tensor, loads: Tensor) -> Tensor:
    """Each row times the weights of each of its experts.

    Args:
        x: [n, K, in]. weights: [E, in, out]. experts: int64 [n, k].
        loads: how often each expert is in that table, int64 [E] on the CPU.

    Returns:
        [n, k, K, out].
    """
    rows, active = experts.shape
    if in_one_launch(x, *weights.shape[1:]):
        from janus_md.ops import expert_products_triton as kernels

        return kernels.products(x, weights, experts).unflatten(0, (rows, active))
    order = _by_expert(experts)
    taken = x.index_select(0, order // active)
    found = _products(taken, weights, loads)
    return torch.empty_like(found).index_copy_(0, order, found).view(rows, active, *found.shape[1:])


@torch.library.custom_op("janus::expert_contract", mutates_args=())
def expert_contract(h: Tensor, weights: Tensor, experts: Tensor, loads: Tensor) -> Tensor:
    """Sum over a row's experts of what they make of their hidden features.

    Args:
        h: [n, k, K, in]. weights: [E, in, out]. experts: int64 [n, k]. loads: int64 [E] on the CPU.

    Returns:
        [n, K, out].
    """
    rows, active = experts.shape
    if in_one_launch(h, *weights.shape[1:]):
        from janus_md.ops import expert_products_triton as kernels

        return (
            kernels.products(h.flatten(0, 1), weights, experts).unflatten(0, (rows, active)).sum(1)
        )
    order = _by_expert(experts)
    found = _products(h.flatten(0, 1).index_select(0, order), weights, loads)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    # Rows are put back before they are summed, so the order of the sum does not depend on the other rows.
    return found.index_select(0, back).view(rows, active, *found.shape[1:]).sum(1)


@torch.library.custom_op("janus::expert_outer", mutates_args=())
def expert_outer(x: Tensor, h: Tensor, experts: Tensor, loads: Tensor) -> Tensor:
    """Outer products summed over the rows of each expert.

    Args:
        x: [n, K, in]. h: [n, k, K, out]. experts: int64 [n, k]. loads: int64 [E] on the CPU.

    Returns:
        [E, in, out].
    """
    if in_one_launch(x, x.shape[2], h.shape[3]):
        from janus_md.ops import expert_products_triton as kernels

        return kernels.outers(x, h, experts, len(loads))
    order = _by_expert(experts)
    left = x.index_select(0, order // experts.shape[1])
    right = h.flatten(0, 1).index_select(0, order)
    if group_products.fit(left, left.shape[2], right.shape[2]):
        ends = group_products.ends(loads, x.shape[1])
        return group_products.outer(left.flatten(0, 1), right.flatten(0, 1), ends)
    y = x.new_zeros(len(loads), x.shape[2], h.shape[3])
    rows = loads.tolist()
    for expert, (a, b) in enumerate(zip(left.split(rows), right.split(rows), strict=True)):
        if rows[expert]:
            torch.mm(a.flatten(0, 1).t(), b.flatten(0, 1), out=y[expert])
    return y


def routed_mlp(
    x: Tensor, w1: Tensor, w2: Tensor, experts: Tensor, gates: Tensor, loads: Tensor
) -> Tensor:
    """Σ_j gates[n, j]·silu(x[n]·w1[e])·w2[e] with e = experts[n, j].

    Args:
        x: [n, K, in]. w1: [E, in, hidden]. w2: [E, hidden, out]. experts: int64 [n, k]. gates: [n, k].
        loads: how often each expert is in that table, int64 [E] on the CPU.

    Returns:
        [n, K, out].
    """
    hidden = silu(expert_expand(x, w1, experts, loads)) * gates.unsqueeze(-1).unsqueeze(-1)
    return expert_contract(hidden, w2, experts, loads)


def _by_expert(experts: Tensor) -> Tensor:
    """Places of the flattened table sorted by expert, [n·k]."""
    return experts.flatten().argsort(stable=True)


def _products(rows: Tensor, weights: Tensor, loads: Tensor) -> Tensor:
    """Rows sorted by expert times their expert's weights: [n·k, K, in] → [n·k, K, out]."""
    if group_products.fit(rows, *weights.shape[1:]):
        ends = group_products.ends(loads, rows.shape[1])
        return group_products.product(rows.flatten(0, 1), weights, ends).unflatten(
            0, rows.shape[:2]
        )
    y = rows.new_empty(*rows.shape[:2], weights.shape[2])
    counts = loads.tolist()
    for expert, (taken, out) in enumerate(zip(rows.split(counts), y.split(counts), strict=True)):
        if counts[expert]:
            torch.mm(taken.flatten(0, 1), weights[expert], out=out.flatten(0, 1))
    return y


@expert_expand.register_fake
def _(x: Tensor, weights: Tensor, experts: Tensor, loads: Tensor) -> Tensor:
    return x.new_empty(*experts.shape, x.shape[1], weights.shape[2])


@expert_contract.register_fake
def _(h: Tensor, weights: Tensor, experts: Tensor, loads: Tensor) -> Tensor:
    return h.new_empty(h.shape[0], h.shape[2], weights.shape[2])


@expert_outer.register_fake
def _(x: Tensor, h: Tensor, experts: Tensor, loads: Tensor) -> Tensor:
    return x.new_empty(loads.shape[0], x.shape[2], h.shape[3])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _expand_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    x, weights, experts, loads = ctx.saved_tensors
    by_x, by_w = group_products.asked(ctx)
    dx = expert_contract(g, weights.transpose(1, 2), experts, loads) if by_x else None
    dw = expert_outer(x, g, experts, loads) if by_w else None
    return dx, dw, None, None


def _contract_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    h, weights, experts, loads = ctx.saved_tensors
    by_h, by_w = group_products.asked(ctx)
    dh = expert_expand(g, weights.transpose(1, 2), experts, loads) if by_h else None
    dw = expert_outer(g, h, experts, loads).transpose(1, 2) if by_w else None
    return dh, dw, None, None


def _outer_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
    x, h, experts, loads = ctx.saved_tensors
    by_x, by_h = group_products.asked(ctx)
    dx = expert_contract(h, g.transpose(1, 2), experts, loads) if by_x else None
    dh = expert_expand(x, g, experts, loads) if by_h else None
    return dx, dh, None, None


expert_expand.register_autograd(_expand_backward, setup_context=_save)
expert_contract.register_autograd(_contract_backward, setup_context=_save)
expert_outer.register_autograd(_outer_backward, setup_context=_save)
