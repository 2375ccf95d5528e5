"""Which atoms share a table of neighbours, and how wide its rows are.

A table has one slot a neighbour, and what its atoms lack is padding. Padding is bounded in either of two ways:
a row is an atom, and atoms with similar numbers of neighbours share a table (a bucket); or there is one table of narrow
rows, and an atom owns as many as it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

SMALLEST_BUCKET = 32
"""Rows; below this the saved padding is worth less than the extra matrix products."""

LARGEST_BUCKET = 4096
"""Slots; what a block holds at once is bounded by this, and small tables stay in cache."""

LARGEST_PADDING = 0.8
"""A new bucket begins where an atom has fewer neighbours than this share of the widest one of its bucket."""

ROW_COST = 3
"""What a narrow row costs beyond its slots, in slots: its moments are added to those of the atom's other rows."""

Layout = Callable[[np.ndarray, np.ndarray], tuple[list[np.ndarray], int | None]]
"""Neighbour counts and atomic numbers → the atoms of each bucket, and the slots of a row if an atom owns several."""


def table_rows(counts: np.ndarray, narrow: int | None) -> tuple[int, np.ndarray]:
    """Slots of a row, and rows of each atom, of a table of atoms with so many neighbours."""
    width = narrow or max(1, int(counts.max(initial=0)))
    return width, np.maximum(-(-counts // width), 1)


def split_by_width(counts: np.ndarray, numbers: np.ndarray) -> tuple[list[np.ndarray], int | None]:
    """Atoms of similar neighbour count together, each bucket sorted by atomic number; a row is an atom.

    For CPUs, whose caches hold a table of a few thousand slots.
    """
    by_count = np.argsort(-counts, kind="stable")
    # Of the type of what is searched for: a search would copy them all otherwise.
    falling = -counts[by_count].astype(np.float64)
    buckets = []
    begin = 0
    while begin < len(by_count):
        widest = int(counts[by_count[begin]])
        # The first atom with fewer neighbours than that share of the widest.
        wide = int(np.searchsorted(falling, -LARGEST_PADDING * widest, side="right")) - begin
        end = begin + max(wide, SMALLEST_BUCKET)
        end = min(end, begin + max(SMALLEST_BUCKET, LARGEST_BUCKET // max(1, widest)))
        if len(by_count) - end < SMALLEST_BUCKET:
            end = len(by_count)
        buckets.append(_by_number(by_count[begin:end], numbers))
        begin = end
    return buckets or [np.zeros(0, dtype=np.int64)], None


@dataclass(frozen=True)
class FewTables:
    """As :func:`split_by_width`, with the fewest slots where a further table counts as ``cost`` slots.

    For GPUs, to which each operator on a table is a launch. A table has at most ``slots``.
    """

    cost: int
    slots: int = 2**18

    def __call__(
        self, counts: np.ndarray, numbers: np.ndarray
    ) -> tuple[list[np.ndarray], int | None]:
        by_count = np.argsort(-counts, kind="stable")
        widths, first = np.unique(-counts[by_count], return_index=True)
        widths = np.maximum(-widths, 1)
        buckets = []
        for begin, end in self._cuts(widths, np.append(first, len(by_count))):
            most = max(1, self.slots // max(1, int(counts[by_count[begin]])))
            for start in range(begin, end, most):
                rows = by_count[start : min(start + most, end)]
                buckets.append(_by_number(rows, numbers))
        return buckets or [np.zeros(0, dtype=np.int64)], None

    def _cuts(self, widths: np.ndarray, first: np.ndarray) -> list[tuple[int, int]]:
        """Atoms sorted by falling width, those of ``widths[i]`` from ``first[i]`` on → where tables begin and end."""
        best, begins = np.zeros(len(first)), np.zeros(len(first), dtype=np.int64)
        for end in range(1, len(first)):
            costs = best[:end] + widths[:end] * (first[end] - first[:end]) + self.cost
            begins[end] = np.argmin(costs)
            best[end] = costs[begins[end]]
        cuts, end = [], len(first) - 1
        while end > 0:
            cuts.append((int(first[begins[end]]), int(first[end])))
            end = begins[end]
        return cuts[::-1]


def _by_number(atoms: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Atoms sorted by atomic number, those of one element as they come in the input."""
    atoms = np.sort(atoms)
    return atoms[np.argsort(numbers[atoms], kind="stable")]


COST_OF_TABLE = 2**28
"""Floats of activations that a GPU computes while it is given the operators on a further table, tens of ms a step."""


def suited_to(device: torch.device, floats_per_edge: int) -> Layout:
    """How atoms are put into tables for a device and a model, where a row is an atom."""
    if device.type == "cpu":
        return split_by_width
    return FewTables(cost=COST_OF_TABLE // floats_per_edge)


def keep_together(counts: np.ndarray, numbers: np.ndarray) -> tuple[list[np.ndarray], int | None]:
    """All atoms in one bucket, sorted by atomic number; a row is an atom."""
    return [np.argsort(numbers, kind="stable")], None


class NarrowRows:
    """All atoms in one bucket, sorted by atomic number, with rows of ``width`` slots: no line graph."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(
        self, counts: np.ndarray, numbers: np.ndarray
    ) -> tuple[list[np.ndarray], int | None]:
        return [np.argsort(numbers, kind="stable")], self.width

    @classmethod
    def suited(cls, atoms: np.ndarray) -> NarrowRows:
        """The width with the least work where ``atoms[c]`` atoms have c neighbours."""
        widths = np.arange(4, max(4, len(atoms) - 1) + 1)
        rows = np.maximum(-(-np.arange(len(atoms))[:, None] // widths), 1)
        return cls(int(widths[np.argmin(atoms @ rows * (widths + ROW_COST))]))
