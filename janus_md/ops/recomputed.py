"""Functions of tensors that keep their inputs instead of what they computed, in every order of derivative.

Ordinary checkpointing saves little where forces are trained on, because the graph of the forces is kept: here the
derivative of a function is again a function that keeps its inputs only, and so is the derivative of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Sequence[Tensor | None]]
"""Of tensors (or None) alone: one it reads without being given it would get no gradient."""


def recomputed(function: Function, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
    """``function(*inputs)``, computed again whenever a derivative is asked for.

    The function must give the same result each time. A result may be None and may not be one of the inputs changed
    in place.
    """
    return _Recomputed.apply(function, *inputs)


@dataclass(frozen=True)
class Pullback:
    """Vector-Jacobian product: (x, ȳ) → ȳ·∂f/∂x for those x that are wanted; None where f does not depend on x.

    Attributes:
        function: f. wanted: one flag for each of its inputs.
    """

    function: Function
    wanted: tuple[bool, ...]

    def __call__(self, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        """tensors: the inputs of f, then a gradient (or None, for zero) of each of its results."""
        differentiable = torch.is_grad_enabled()
        inputs = [
            _leaf(tensor, wanted, differentiable)
            for tensor, wanted in zip(tensors, self.wanted, strict=False)
        ]
        with torch.enable_grad():
            results = self.function(*inputs)
        given = tensors[len(inputs) :]
        pairs = [
            (result, gradient)
            for result, gradient in zip(results, given, strict=True)
            if gradient is not None and result is not None and result.requires_grad
        ]
        if not pairs:
            return (None,) * sum(self.wanted)
        return torch.autograd.grad(
            [result for result, _ in pairs],
            [x for x, wanted in zip(inputs, self.wanted, strict=True) if wanted and x is not None],
            [gradient for _, gradient in pairs],
            create_graph=differentiable,
            allow_unused=True,
        )


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Function, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.function = function
        # A result that nobody used needs no pass through what made it.
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)
        return tuple(function(*inputs))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        pullback = Pullback(ctx.function, wanted)
        found = iter(recomputed(pullback, *ctx.saved_tensors, *gradients))
        return None, *(next(found) if need else None for need in wanted)


def _leaf(tensor: Tensor | None, wanted: bool, differentiable: bool) -> Tensor | None:
    """The tensor cut from the graph it came from, unless derivatives of the derivative go back into that graph."""
    if tensor is None:
        return None
    if not differentiable:
        return tensor.detach().requires_grad_(wanted)
    return tensor if tensor.requires_grad or not wanted else tensor.detach().requires_grad_()
