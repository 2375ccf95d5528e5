"""Products of groups of rows, which follow each other, with a matrix each: torch's ``F.grouped_mm`` where it fits.

Its own derivatives refuse gradients whose elements share memory (those of a sum, say), so it has others here. On CUDA,
where it would wait for the device once a group, it is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def fit(rows: Tensor, *widths: int) -> bool:
    """Whether rows and matrices of these widths can be taken: single precision, strides of 16 bytes."""
    single = rows.dtype == torch.float32 and rows.device.type == "cpu"
    return single and rows.numel() > 0 and all(width % 4 == 0 for width in widths)


def ends(counts: Tensor, slots: int) -> Tensor:
    """The row after each group's last, int32 [G], of groups of ``counts`` [G] atoms that have ``slots`` rows each."""
    return (counts.cumsum(0) * slots).to(torch.int32)


def product(rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    """rows [n, in], weights [G, in, out], :func:`ends` of the groups → [n, out]."""
    return F.grouped_mm(_packed(rows), _packed(weights), offs=ends)


def outer(left: Tensor, right: Tensor, ends: Tensor) -> Tensor:
    """left [n, in], right [n, out], summed over each group's rows → [G, in, out]."""
    return F.grouped_mm(_packed(left).t(), _packed(right), offs=ends)


def _packed(values: Tensor) -> Tensor:
    """A copy where neither rows nor columns lie one after the other."""
    across, along = values.stride()[-2:]
    rows, columns = values.shape[-2:]
    by_row = along == 1 and across >= columns and across % 4 == 0
    by_column = values.dim() == 3 and across == 1 and along >= rows and along % 4 == 0
    apart = values.dim() == 2 or values.stride(0) >= rows * columns
    return values if (by_row or by_column) and apart else values.contiguous()


class GroupProduct(torch.autograd.Function):
    """:func:`product`, to be differentiated as often as one likes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights, ends)
        return product(rows, weights, ends)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, weights, ends = ctx.saved_tensors
        (g,) = gradients
        by_rows, by_weights = asked(ctx)
        d_rows = GroupProduct.apply(g, weights.transpose(1, 2), ends) if by_rows else None
        return d_rows, GroupOuter.apply(rows, g, ends) if by_weights else None, None


class GroupOuter(torch.autograd.Function):
    """:func:`outer`, to be differentiated as often as one likes."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, ends: Tensor) -> Tensor:
        ctx.save_for_backward(left, right, ends)
        return outer(left, right, ends)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        left, right, ends = ctx.saved_tensors
        (g,) = gradients
        by_left, by_right = asked(ctx)
        d_left = GroupProduct.apply(right, g.transpose(1, 2), ends) if by_left else None
        return d_left, GroupProduct.apply(left, g, ends) if by_right else None, None


def asked(ctx: Any, places: Sequence[int] = (0, 1)) -> list[bool]:
    """Which of these inputs' gradients this backward pass asks for: forces ask for none by weights."""
    return [ctx.needs_input_grad[i] and _runs(ctx.next_functions[i][0]) for i in places]


def _runs(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:
        return True  # a leaf that is itself asked for
