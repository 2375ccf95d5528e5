"""Exponential moving average of the weights: what is validated, released and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Shadow of a model's parameters, by name. The decay grows from 0 to its value over the first steps.

    With a decay of 0 there is no shadow: the average is the model.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(model.named_parameters()) if decay else {}
        self.shadow: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the present weights; ``step`` counts from 0."""
        if not self.shadow:
            return
        weight = 1.0 - min(self.decay, (1.0 + step) / (10.0 + step))
        torch._foreach_lerp_(list(self.shadow.values()), list(self._parameters.values()), weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside this context, its own again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            own = parameter.data
            parameter.data = self.shadow[name]
            self.shadow[name] = own
