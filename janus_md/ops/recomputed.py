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
        size = len(self.wanted)
        return Kept(self.function, self.wanted, tensors[:size]).pull_back(tensors[size:])


class Kept:
    """A function's results and all that their derivative by the inputs needs.

    Attributes:
        results: of the function; where gradients are enabled their graph goes on into that of the inputs.
    """

    def __init__(
        self, function: Function, wanted: tuple[bool, ...], inputs: Sequence[Tensor | None]
    ) -> None:
        """wanted: which inputs' gradients will be asked for."""
        self._differentiable = torch.is_grad_enabled()
        leaves = [
            _leaf(tensor, want, self._differentiable)
            for tensor, want in zip(inputs, wanted, strict=True)
        ]
        with torch.enable_grad():
            self.results = function(*leaves)
        self._wanted = [x for x, want in zip(leaves, wanted, strict=True) if want and x is not None]
        self._count = sum(wanted)

    def pull_back(self, given: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        """A gradient of each result (or None, for zero) → of each wanted input."""
        pairs = [
            (result, gradient)
            for result, gradient in zip(self.results, given, strict=True)
            if gradient is not None and result is not None and result.requires_grad
        ]
        if not pairs:
            return (None,) * self._count
        return torch.autograd.grad(
            [result for result, _ in pairs],
            self._wanted,
            [gradient for _, gradient in pairs],
            create_graph=self._differentiable,
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
    """The tensor cut from the graph it came from; where derivatives of the derivative go back into that graph, a view.

    Inputs may depend on each other: a gradient by the view of one does not take the way through another's.
    """
    if tensor is None:
        return None
    if not differentiable:
        return tensor.detach().requires_grad_(wanted)
    if not wanted:
        return tensor
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()
