"""What optimisers of weight matrices share: AdamW beside them for every other parameter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class MatrixOptimizer(torch.optim.Optimizer, ABC):
    """A method for matrices, AdamW for everything else, with one learning rate and one state.

    Leading dimensions of a matrix parameter are a stack of matrices (experts), each updated on its own.
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        defaults: dict[str, Any],
        **adamw: Any,
    ) -> None:
        """defaults: of the method for matrices, among them ``lr``, which is the others' too.

        adamw: arguments of :class:`torch.optim.AdamW`.
        """
        super().__init__([{"params": list(matrices)}], defaults)
        self._others = torch.optim.AdamW(list(others), lr=defaults["lr"], weight_decay=0.0, **adamw)
        self._others.state = self.state
        self.param_groups.extend(self._others.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        group = self.param_groups[0]
        self._update([p for p in group["params"] if p.grad is not None], group)
        self._others.step()

    @abstractmethod
    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update parameters that have gradients in place; [..., rows, columns] each."""


def gradient_of(parameter: Tensor) -> Tensor:
    """Of a parameter that has one."""
    assert parameter.grad is not None
    return parameter.grad


def used(gradient: Tensor) -> Tensor:
    """Which matrices of a stack have a gradient; [..., 1, 1], bool.

    An expert that no atom of the batch uses has none, and stays whatever its averages hold: what is left of them would
    become a whole step.
    """
    return (gradient != 0).any(-1).any(-1)[..., None, None]
