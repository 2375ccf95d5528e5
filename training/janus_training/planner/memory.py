"""What a rank's memory holds at the fullest moment of a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from janus_training.ema import Ema
from janus_training.parallel.ledger import UPDATE
from janus_training.planner.meter import Counts


@dataclass(frozen=True)
class Memory:
    """Bytes.

    Attributes:
        parameters, gradients, optimiser, averages: those this rank holds. whole: weights of others, while computing.
        activations: everything else, what the phases keep for each other most of all.
    """

    parameters: int
    gradients: int
    optimiser: int
    averages: int
    whole: int
    activations: int

    @property
    def total(self) -> int:
        """At the fullest moment."""
        return sum(vars(self).values())

    def of_batch(self, larger: float) -> Memory:
        """The same with a batch that many times as large."""
        return replace(self, activations=int(self.activations * larger))


def account(
    model: nn.Module, optimizer: torch.optim.Optimizer, averages: Ema, whole: Counts, peak: Counts
) -> Memory:
    """After a rehearsed step.

    Args:
        whole: weights restored, by phase. peak: of what the step made, by phase; the optimiser's first step made its
            state, which later ones find.
    """
    parameters = list(model.parameters())
    held = _bytes([*parameters, *model.buffers()])
    gradients = _bytes(p.grad for p in parameters if p.grad is not None)
    state = _bytes(
        value
        for entries in optimizer.state.values()
        for value in entries.values()
        if isinstance(value, Tensor)
    )
    before = max((size for phase, size in peak.items() if phase != UPDATE), default=0)
    made = max(before + state, peak.get(UPDATE, 0))
    largest = int(max(whole.values(), default=0))
    rest = max(0, int(made) - state - gradients - largest)
    return Memory(held, gradients, state, _bytes(averages.shadow.values()), largest, rest)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
