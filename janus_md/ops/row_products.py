"""Products of an atom's edges with matrices of its own, three that are each other's derivatives:

    spread    A·b    [n, K, p], [n, p, q] → [n, K, q]
    contract  Aᵀ·b   [n, K, p], [n, K, q] → [n, p, q]
    outer     a·Bᵀ   [n, K, q], [n, p, q] → [n, K, p]

So a result lies in memory row by row in every order of derivative. The second derivatives of PyTorch's own products
come transposed, and everything elementwise that meets them strides through memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def spread(a: Tensor, b: Tensor) -> Tensor:
    """a·b of each atom: [n, K, p], [n, p, q] → [n, K, q]."""
    # Exported files hold PyTorch's operators alone, and are differentiated once.
    if not torch.jit.is_scripting():
        return _Spread.apply(a, b)
    return torch.bmm(a, b)


def contract(a: Tensor, b: Tensor) -> Tensor:
    """aᵀ·b of each atom, summed over its edges: [n, K, p], [n, K, q] → [n, p, q]."""
    if not torch.jit.is_scripting():
        return _Contract.apply(a, b)
    return torch.bmm(a.transpose(1, 2), b)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.bmm(a, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (a, b), (g,), (by_a, by_b) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        return _Outer.apply(g, b) if by_a else None, _Contract.apply(a, g) if by_b else None


class _Contract(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.bmm(a.transpose(1, 2), b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (a, b), (g,), (by_a, by_b) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        return _Outer.apply(b, g) if by_a else None, _Spread.apply(a, g) if by_b else None


class _Outer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.bmm(a, b.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (a, b), (g,), (by_a, by_b) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        return _Spread.apply(g, b) if by_a else None, _Contract.apply(g, a) if by_b else None
