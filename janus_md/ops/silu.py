"""x·σ(x), whose second derivative PyTorch takes through a chain of operators that keep what they read."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor


def silu(x: Tensor) -> Tensor:
    """x·σ(x), any shape."""
    # A traced step holds PyTorch's operators alone, which the compiler fuses.
    return F.silu(x) if isinstance(x, FakeTensor) else _Silu.apply(x)


class _Silu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.silu(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Slope.apply(gradients[0], *ctx.saved_tensors)


class _Slope(torch.autograd.Function):
    """g·s'(x) of s = silu."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(g, x)
        return torch.ops.aten.silu_backward(g, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (g, x), (t,) = ctx.saved_tensors, gradients
        share = torch.sigmoid(x)
        # s'' = σ·(1 − σ)·(2 + x·(1 − 2σ))
        slope = torch.addcmul(share, share, share, value=-1.0)
        curve = torch.addcmul(x + 2.0, x, share, value=-2.0)
        return torch.ops.aten.silu_backward(t, x), t * g * slope * curve
