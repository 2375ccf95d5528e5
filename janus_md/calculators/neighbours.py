"""A neighbour list with a skin, kept between steps as long as it provably holds every pair.

Pairs are found up to cutoff + skin once; later steps recompute only their vectors, from the current
positions and cell and the stored cell shifts. Let F map the periodic cell vectors of the build onto
today's (the identity across non-periodic directions) and u_i = r_i − r_i⁰F. A pair left out at the
build was longer than cutoff + skin; now it is at least σ_min(F)·(cutoff + skin) − 2·max|u|, so the
list is complete while that is not below the cutoff. This covers strain and motion together, and a
drift of all atoms is no reason to rebuild.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from janus_md.graph import AtomGraph, neighbour_pairs
from janus_md.graph.neighbours import check_geometry, graph_from_pairs

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Pairs:
    """Pairs up to cutoff + skin, and the structure they were found in."""

    centres: Integers
    neighbours: Integers
    shifts: Integers
    numbers: Integers
    positions: Floats
    cell: Floats
    pbc: NDArray[np.bool_]


class SkinNeighbours:
    """Graphs of successive structures; ``builds`` counts the searches for neighbours.

    Lengths in Å. A skin of zero searches at every call.
    """

    def __init__(self, cutoff: float, line_cutoff: float, skin: float) -> None:
        self.cutoff = cutoff
        self.line_cutoff = line_cutoff
        self.skin = skin
        self.builds = 0
        self._pairs: _Pairs | None = None

    def graph(self, atoms: Atoms) -> AtomGraph:
        """The same graph as ``build_graph`` gives, raising the same errors."""
        check_geometry(atoms)
        if self._pairs is None or not self._still_complete(self._pairs, atoms):
            self._pairs = self._search(atoms)
        pairs = self._pairs
        vectors = (
            atoms.positions[pairs.neighbours]
            - atoms.positions[pairs.centres]
            + pairs.shifts @ atoms.cell.array
        )
        inside = np.einsum("ek,ek->e", vectors, vectors) < self.cutoff**2
        return graph_from_pairs(
            atoms,
            pairs.centres[inside],
            pairs.neighbours[inside],
            vectors[inside],
            self.line_cutoff,
        )

    def _search(self, atoms: Atoms) -> _Pairs:
        self.builds += 1
        centres, neighbours, shifts, _ = neighbour_pairs(
            atoms.positions, atoms.cell.array, atoms.pbc, self.cutoff + self.skin
        )
        return _Pairs(
            centres,
            neighbours,
            shifts,
            atoms.numbers.copy(),
            atoms.positions.copy(),
            atoms.cell.array.copy(),
            atoms.pbc.copy(),
        )

    def _still_complete(self, pairs: _Pairs, atoms: Atoms) -> bool:
        if self.skin <= 0 or len(atoms) != len(pairs.numbers):
            return False
        if (atoms.numbers != pairs.numbers).any() or (atoms.pbc != pairs.pbc).any():
            return False
        if len(atoms) == 0:
            return True
        strain = cell_map(pairs.cell[pairs.pbc], atoms.cell.array[pairs.pbc])
        moved = atoms.positions - pairs.positions @ strain
        moved -= moved.mean(axis=0)
        largest = float(np.sqrt(np.einsum("ik,ik->i", moved, moved).max()))
        stretch = float(np.linalg.svd(strain, compute_uv=False).min())
        return stretch * (self.cutoff + self.skin) - 2 * largest >= self.cutoff


def cell_map(before: Floats, after: Floats) -> Floats:
    """F with ``before @ F == after`` (rows are the periodic cell vectors, [p, 3]).

    Across the directions that ``before`` does not span, F is the identity.
    """
    if len(before) == 0:
        return np.eye(3)
    inverse = np.linalg.pinv(before)
    return inverse @ after + np.eye(3) - inverse @ before
