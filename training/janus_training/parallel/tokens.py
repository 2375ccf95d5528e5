"""What experts act on: atoms and edges of each element on each rank of a unit, known without asking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_md.graph.batch import NUMBERS, Layout, table_rows

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """Tokens of layers of experts.

    Attributes:
        atoms: of each element on each rank, [unit, elements]. edges: the same of tables' slots, padding included.
        one_table: whether each rank has one table of neighbours, so that all ranks use a layer once a block.
    """

    atoms: Integers
    edges: Integers
    one_table: bool

    def of(self, elements: Sequence[int]) -> Tokens:
        """Of some elements only."""
        return Tokens(self.atoms[:, elements], self.edges[:, elements], self.one_table)


def count_tokens(ranks: Sequence[tuple[Integers, Integers]], layout: Layout) -> Tokens:
    """Of ranks with these neighbour counts and atomic numbers of their atoms; by atomic number, [unit, 119].

    layout: how they are put into tables, see :func:`janus_md.graph.batch_graphs`.
    """
    atoms = np.array([np.bincount(numbers, minlength=NUMBERS) for _, numbers in ranks])
    edges = np.zeros_like(atoms)
    one_table = True
    for rank, (counts, numbers) in enumerate(ranks):
        tables, narrow = layout(counts, numbers)
        one_table &= len(tables) == 1
        for table in tables:
            width, rows = table_rows(counts[table], narrow)
            np.add.at(edges[rank], numbers[table], rows * width)
    return Tokens(atoms, edges, one_table)
