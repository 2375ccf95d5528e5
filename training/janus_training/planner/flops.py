"""Floating-point operations of the products that a step is made of.

torch's own formulas, and those of our operators; additions and multiplications count one each. What is not a product
(activations, norms, sums) costs memory traffic, not arithmetic, and is not counted here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, register_flop_formula

import janus_md.ops.expert_products  # noqa: F401 (registers the operators)


@register_flop_formula(torch.ops.janus.expert_expand)
def _expand(x: list[int], weights: list[int], experts: list[int], *_: Any, **__: Any) -> int:
    """x: [n, K, in]. weights: [E, in, out]. experts: [n, k]."""
    return 2 * experts[0] * experts[1] * x[1] * weights[1] * weights[2]


@register_flop_formula(torch.ops.janus.expert_contract)
def _contract(h: list[int], weights: list[int], *_: Any, **__: Any) -> int:
    """h: [n, k, K, in]. weights: [E, in, out]."""
    return 2 * h[0] * h[1] * h[2] * weights[1] * weights[2]


@register_flop_formula(torch.ops.janus.expert_outer)
def _outer(x: list[int], h: list[int], *_: Any, **__: Any) -> int:
    """x: [n, K, in]. h: [n, k, K, out]."""
    return 2 * h[0] * h[1] * h[2] * x[2] * h[3]


@register_flop_formula(torch.ops.aten._grouped_mm)
def _grouped(left: list[int], right: list[int], *_: Any, **__: Any) -> int:
    """Groups of left's rows times a matrix each, [n, in] and [E, in, out], or outer products, [in, n] and [n, out]."""
    return 2 * left[0] * left[1] * right[-1]


def products(
    operator: Any, arguments: tuple[Any, ...], named: dict[str, Any], result: Any
) -> int | None:
    """Operations of one call of an operator; None where it is no product."""
    count = flop_registry.get(operator._overloadpacket)
    return None if count is None else count(*arguments, **named, out_val=result)


EXPERTS = {
    torch.ops.janus.expert_expand.default,
    torch.ops.janus.expert_contract.default,
    torch.ops.janus.expert_outer.default,
}


def gathered(operator: Any, arguments: tuple[Any, ...], result: Tensor) -> int:
    """Bytes that a product with experts copies inside, so that each expert's rows lie together."""
    if operator not in EXPERTS:
        return 0
    if operator is torch.ops.janus.expert_outer.default:
        left, right = arguments[:2]
        return left.nbytes * right.shape[1] + right.nbytes
    if operator is torch.ops.janus.expert_expand.default:
        left, _, experts = arguments[:3]
        return left.nbytes * experts.shape[1] + result.nbytes
    # Rows by expert, their results, and these put back in order before they are summed.
    left = arguments[0]
    return left.nbytes + 2 * result.nbytes * left.shape[1]
