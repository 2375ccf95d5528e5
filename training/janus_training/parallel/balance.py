"""Who takes which graphs of a batch, so that all ranks have about as much to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COST = np.array([6.0, 1.0, 0.2])
"""Of an atom, an edge and an angle, in edges."""


@dataclass(frozen=True)
class Assignment:
    """Graphs of each rank (``whole``), graphs that the ranks of each unit share (``divided``), cost of each rank."""

    whole: list[list[int]]
    divided: list[list[int]]
    loads: Floats

    @property
    def imbalance(self) -> float:
        """Largest load over the mean, less one."""
        return float(self.loads.max() / max(self.loads.mean(), 1e-300)) - 1.0


def predicted_cost(sizes: NDArray[np.int64]) -> Floats:
    """Cost of graphs with so many atoms, edges and angles, [n, 3] → [n]."""
    return sizes @ COST


def assign(costs: Floats, divided: NDArray[np.bool_], ranks: int, unit: int) -> Assignment:
    """The costliest first, each to who has least to do (Graham 1969); then exchanges that lower the largest load.

    Args:
        costs: of each graph, [n]. divided: which are shared by a unit, [n].
    """
    loads = np.zeros(ranks)
    whole: list[list[int]] = [[] for _ in range(ranks)]
    shared: list[list[int]] = [[] for _ in range(ranks // unit)]
    for graph in np.argsort(-costs, kind="stable"):
        if divided[graph]:
            team = int(loads.reshape(-1, unit).sum(1).argmin())
            shared[team].append(int(graph))
            loads[team * unit : (team + 1) * unit] += costs[graph] / unit
        else:
            rank = int(loads.argmin())
            whole[rank].append(int(graph))
            loads[rank] += costs[graph]
    while _improve(costs, whole, loads):
        pass
    return Assignment([sorted(graphs) for graphs in whole], shared, loads)


def _improve(costs: Floats, whole: list[list[int]], loads: Floats) -> bool:
    """Move or swap one graph of the fullest rank where that lowers the larger of two loads; whether it did."""
    top = int(loads.argmax())
    given = np.array(whole[top], dtype=np.int64)
    if not len(given):
        return False
    for other in np.argsort(loads, kind="stable"):
        gap = loads[top] - loads[other]
        taken = np.array([*whole[other], -1], dtype=np.int64)
        moved = costs[given][:, None] - np.where(taken < 0, 0.0, costs[taken])[None, :]
        good = (moved > 1e-9 * max(gap, 1.0)) & (moved < gap * (1.0 - 1e-9))
        if not good.any():
            continue
        worth = np.where(good, np.minimum(moved, gap - moved), -1.0)
        i, j = np.unravel_index(int(worth.argmax()), worth.shape)
        whole[top].remove(int(given[i]))
        whole[other].append(int(given[i]))
        if taken[j] >= 0:
            whole[other].remove(int(taken[j]))
            whole[top].append(int(taken[j]))
        loads[top] -= moved[i, j]
        loads[other] += moved[i, j]
        return True
    return False
