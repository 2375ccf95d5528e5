"""Batches by budget of structures, atoms, edges and angles.

The order of an epoch depends on (seed, epoch) alone, so a position (epoch, batch) is all that a resumed
run needs to go on exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_md.errors import UserError
from janus_training.config import BatchConfig

OPEN_BATCHES = 32
"""How many unfinished batches may wait for a structure that fits; bounds the work of packing."""

RESOURCES = ("structures", "atoms", "edges", "angles")


@dataclass(frozen=True)
class Position:
    """The next batch to take: ``batch`` of ``epoch``, both from 0."""

    epoch: int = 0
    batch: int = 0


class BudgetSampler:
    """Shuffled batches that each stay within the budget and fill it as far as the next structures allow."""

    def __init__(self, costs: NDArray[np.int64], budget: BatchConfig, seed: int) -> None:
        """``costs`` [structures, 3]: atoms, edges and angles of each structure.

        Raises ``UserError`` where one structure alone exceeds the budget.
        """
        ones = np.ones((len(costs), 1), dtype=np.int64)
        self._costs = np.concatenate([ones, costs.astype(np.int64)], axis=1)
        limits = [getattr(budget, name) for name in RESOURCES]
        self._limits = np.array([np.iinfo(np.int64).max if n is None else n for n in limits])
        self._seed = seed
        self._refuse_oversized()

    def epoch(self, number: int) -> list[NDArray[np.int64]]:
        """The batches of one epoch as arrays of structure indices; every structure occurs once."""
        rng = np.random.default_rng([self._seed, number])
        batches = pack(self._costs, self._limits, rng.permutation(len(self._costs)))
        return [batches[place] for place in rng.permutation(len(batches))]

    def walk(self, start: Position) -> Iterator[tuple[Position, NDArray[np.int64]]]:
        """Endless (position after this batch, indices), from ``start`` on."""
        epoch, first = start.epoch, start.batch
        while True:
            batches = self.epoch(epoch)
            for number in range(first, len(batches)):
                last = number + 1 == len(batches)
                after = Position(epoch + 1, 0) if last else Position(epoch, number + 1)
                yield after, batches[number]
            epoch, first = epoch + 1, 0

    def _refuse_oversized(self) -> None:
        too_large = (self._costs > self._limits).any(axis=1)
        if too_large.any():
            worst = int(np.argmax(too_large))
            resource = int(np.argmax(self._costs[worst] > self._limits))
            name, need = RESOURCES[resource], int(self._costs[:, resource].max())
            raise UserError(
                f"batch.{name} is {self._limits[resource]} but one structure alone has {need} {name}; "
                f"raise batch.{name} to at least {need}"
            )


def pack(
    costs: NDArray[np.int64], limits: NDArray[np.int64], order: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """First-fit of the structures in ``order`` into batches within ``limits``.

    A structure goes to the oldest open batch with room; with ``OPEN_BATCHES`` open, the fullest one is
    closed to make place. Late structures fill the gaps that large ones left.
    """
    batches: list[list[int]] = []
    open_batches: list[int] = []
    used = np.zeros((0, len(limits)), dtype=np.int64)
    for index in order:
        fits = np.flatnonzero((used <= limits - costs[index]).all(axis=1))
        if len(fits):
            slot = int(fits[0])
            batches[open_batches[slot]].append(int(index))
            used[slot] += costs[index]
            continue
        if len(open_batches) == OPEN_BATCHES:
            fullest = int((used / limits).max(axis=1).argmax())
            open_batches.pop(fullest)
            used = np.delete(used, fullest, axis=0)
        open_batches.append(len(batches))
        batches.append([int(index)])
        used = np.concatenate([used, costs[index][None]])
    return [np.array(batch, dtype=np.int64) for batch in batches]
