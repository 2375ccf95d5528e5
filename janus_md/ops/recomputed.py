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
        kept = Kept(self.function, self.wanted, tensors[:size])
        kept.forward()
        found = zip(kept.pull_back(tensors[size:]), self.wanted, strict=True)
        return tuple(gradient for gradient, wanted in found if wanted)


class Kept:
    """A function of tensors that goes forward and back once, and keeps in between all that its derivative needs."""

    def __init__(
        self, function: Function, wanted: tuple[bool, ...], inputs: Sequence[Tensor | None]
    ) -> None:
        """wanted: which inputs' gradients will be asked for."""
        self._function = function
        self._differentiable = torch.is_grad_enabled()
        self._inputs = [
            _leaf(tensor, want, self._differentiable)
            for tensor, want in zip(inputs, wanted, strict=True)
        ]
        self._wanted = [x if want else None for x, want in zip(self._inputs, wanted, strict=True)]
        self._results: Sequence[Tensor | None] = []

    def forward(self) -> Sequence[Tensor | None]:
        """The results; where gradients are enabled their graph goes on into that of the inputs."""
        with torch.enable_grad():
            self._results = self._function(*self._inputs)
        return self._results

    def pull_back(self, given: Sequence[Tensor | None]) -> list[Tensor | None]:
        """A gradient of each result → of each input. None is zero; so are those of inputs that are not wanted."""
        pairs = [
            (result, gradient)
            for result, gradient in zip(self._results, given, strict=True)
            if gradient is not None and result is not None and result.requires_grad
        ]
        self._results = []
        if not pairs:
            return [None] * len(self._wanted)
        found = iter(
            torch.autograd.grad(
                [result for result, _ in pairs],
                [x for x in self._wanted if x is not None],
                [gradient for _, gradient in pairs],
                create_graph=self._differentiable,
                allow_unused=True,
            )
        )
        return [None if x is None else next(found) for x in self._wanted]


class Recomputing:
    """The same, but it keeps the inputs only."""

    def __init__(
        self, function: Function, wanted: tuple[bool, ...], inputs: Sequence[Tensor | None]
    ) -> None:
        """wanted: which inputs' gradients will be asked for."""
        self._pullback, self._inputs = Pullback(function, wanted), inputs

    def forward(self) -> Sequence[Tensor | None]:
        """The results."""
        return recomputed(self._pullback.function, *self._inputs)

    def pull_back(self, given: Sequence[Tensor | None]) -> list[Tensor | None]:
        """A gradient of each result → of each input. None is zero; so are those of inputs that are not wanted."""
        found = iter(recomputed(self._pullback, *self._inputs, *given))
        return [next(found) if wanted else None for wanted in self._pullback.wanted]


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
