"""What experts act on: atoms and edges of each element in each table of each rank, known without asking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_md.graph.batch import NUMBERS
from janus_md.graph.tables import Layout, table_rows

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """Tokens of layers of experts, which act on one table of neighbours after the other.

    Attributes:
        atoms: of each element in each table of each rank, [unit, tables, elements].
        edges: the same of the tables' slots, padding included.
    """

    atoms: Integers
    edges: Integers

    def of(self, elements: Sequence[int]) -> Tokens:
        """Of some elements only."""
        return Tokens(self.atoms[..., elements], self.edges[..., elements])

    def filled_up(self, layout: Layout) -> Layout:
        """The layout of these tables with empty ones after them, so that all ranks have equally many."""

        def filled(counts: Integers, numbers: Integers) -> tuple[list[Integers], int | None]:
            tables, narrow = layout(counts, numbers)
            missing = self.atoms.shape[1] - len(tables)
            return [*tables, *[np.zeros(0, dtype=np.int64)] * missing], narrow

        return filled


def count_tokens(ranks: Sequence[tuple[Integers, Integers]], layout: Layout) -> Tokens:
    """Of ranks with these neighbour counts and atomic numbers of their atoms; by atomic number, 119 of them.

    layout: how they are put into tables, see :func:`janus_md.graph.batch_graphs`.
    """
    layouts = [layout(counts, numbers) for counts, numbers in ranks]
    most = max(len(tables) for tables, _ in layouts)
    atoms, edges = np.zeros((2, len(ranks), most, NUMBERS), dtype=np.int64)
    for rank, ((counts, numbers), (tables, narrow)) in enumerate(zip(ranks, layouts, strict=True)):
        for place, table in enumerate(tables):
            width, rows = table_rows(counts[table], narrow)
            np.add.at(atoms[rank, place], numbers[table], 1)
            np.add.at(edges[rank, place], numbers[table], rows * width)
    return Tokens(atoms, edges)
