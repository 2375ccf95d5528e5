"""The graph of one structure: edges by centre, nearest first, so that the line graph is a prefix.

Every edge i<-j belongs to its centre i. The line graph of centre i is the set of its edges shorter than
``line_cutoff``; sorting the edges of a centre by length makes that set its first ``num_line[i]`` edges, and no
list of angles is ever stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import ase
import numpy as np
from ase.geometry import complete_cell, minkowski_reduce
from vesin import NeighborList

from janus_md.errors import UserError
from janus_md.graph.gaps import close_gaps, periodic_rows

SMALLEST_DISTANCE = 0.2
"""Å; two nuclei closer than this are a mistake in the input, not a structure."""

LARGEST_COORDINATE = 1e8
"""Å, a centimetre; beyond it rounding alone moves atoms by 1e-8 Å, and cell shifts outgrow the search."""


@dataclass(frozen=True)
class AtomGraph:
    """Edges of one structure, or of some of its atoms, sorted by centre and then by length.

    Attributes:
        numbers: atomic numbers of the N centres, then those of ghosts: neighbours whose own edges are held elsewhere.
        offsets: edges of centre i are ``offsets[i]:offsets[i+1]``, [N+1].
        neighbours: index j of each edge, [E].
        vectors: r_j + shift·cell − r_i in Å, float64, [E, 3].
        num_line: number of edges of each centre shorter than the line cutoff, [N].
        volume: |det(cell)| in Å³ where all three directions are periodic, else 0.
        whole: atomic numbers of the structure that these atoms are a part of; None where they are all of it.
    """

    numbers: np.ndarray
    offsets: np.ndarray
    neighbours: np.ndarray
    vectors: np.ndarray
    num_line: np.ndarray
    volume: float
    whole: np.ndarray | None = None

    @property
    def num_atoms(self) -> int:
        """N, without ghosts."""
        return len(self.offsets) - 1

    @property
    def num_edges(self) -> int:
        return len(self.neighbours)

    @property
    def num_angles(self) -> int:
        """Ordered pairs of line-graph edges with a common centre."""
        return int((self.num_line.astype(np.int64) ** 2).sum())

    @property
    def centres(self) -> np.ndarray:
        """Index i of each edge, [E]."""
        return np.repeat(np.arange(self.num_atoms), np.diff(self.offsets))


def neighbour_pairs(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """All directed pairs within ``cutoff`` Å, images of an atom with itself included.

    Args:
        positions: [N, 3] in Å. cell: [3, 3], rows may be anything where not periodic. pbc: [3] bool.

    Returns:
        centres [E], neighbours [E], shifts [E, 3] (integers), vectors [E, 3] in Å, in no particular order.
    """
    if len(positions) == 0:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros((0, 3), dtype=np.int64), np.zeros((0, 3))
    near = close_gaps(positions, cell, pbc, cutoff)
    finder = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    centres, neighbours, shifts, vectors = finder.compute(
        points=np.ascontiguousarray(near, dtype=np.float64),
        box=np.ascontiguousarray(complete_cell(periodic_rows(cell, pbc)), dtype=np.float64),
        periodic=np.asarray(pbc, dtype=bool),
        quantities="ijSD",
    )
    centres, neighbours, shifts = (x.astype(np.int64) for x in (centres, neighbours, shifts))
    if near is not positions:
        # At their true places, where sums are rounded as if no gap had been closed.
        vectors = positions[neighbours] - positions[centres] + shifts @ cell
    return centres, neighbours, shifts, vectors


def build_graph(atoms: ase.Atoms, cutoff: float, line_cutoff: float) -> AtomGraph:
    """The graph of ``atoms`` with edges up to ``cutoff`` and a line graph up to ``line_cutoff`` (Å).

    Raises:
        UserError: positions or cell are not finite or huge, the volume is zero, or two atoms coincide.
    """
    check_geometry(atoms)
    centres, neighbours, _, vectors = neighbour_pairs(
        atoms.positions, atoms.cell.array, atoms.pbc, cutoff
    )
    return graph_from_pairs(atoms, centres, neighbours, vectors, line_cutoff)


def check_geometry(atoms: ase.Atoms) -> None:
    """Raise ``UserError`` where positions or cell are not finite or huge, or a periodic cell is flat."""
    cell = atoms.cell.array
    if not np.isfinite(atoms.positions).all() or not np.isfinite(cell).all():
        raise UserError(
            f"the structure {atoms.get_chemical_formula()} has a position or cell vector that is not "
            "finite: check the file it came from"
        )
    if max(np.abs(atoms.positions).max(initial=0), np.abs(cell).max()) > LARGEST_COORDINATE:
        raise UserError(
            f"the structure {atoms.get_chemical_formula()} has a position or cell vector beyond "
            f"{LARGEST_COORDINATE:g} Å: check its units, or wrap its atoms into the cell"
        )
    box = complete_cell(periodic_rows(cell, atoms.pbc))
    flat = (np.linalg.norm(cell, axis=1)[atoms.pbc] < 1e-8).any()
    if flat or (atoms.pbc.any() and abs(np.linalg.det(box)) < 1e-8):
        raise UserError(
            f"the periodic structure {atoms.get_chemical_formula()} has a cell without volume: "
            "give it three independent cell vectors or set pbc to False"
        )
    if (shortest := _shortest_translation(box, atoms.pbc)) < SMALLEST_DISTANCE:
        raise UserError(
            f"the periodic structure {atoms.get_chemical_formula()} repeats itself after {shortest:.3g} Å, atoms on "
            "top of their own images: check the units of its cell"
        )


def _shortest_translation(box: np.ndarray, pbc: np.ndarray) -> float:
    """Length in Å of the shortest lattice vector, or a lower bound of it that is no mistake yet."""
    if not pbc.any():
        return np.inf
    heights = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)[pbc]
    if heights.min() >= SMALLEST_DISTANCE:
        return float(heights.min())
    reduced, _ = minkowski_reduce(box, pbc)
    return float(np.linalg.norm(reduced[pbc], axis=1).min())


def graph_from_pairs(
    atoms: ase.Atoms,
    centres: np.ndarray,
    neighbours: np.ndarray,
    vectors: np.ndarray,
    line_cutoff: float,
) -> AtomGraph:
    """Sort pairs, [E], and their vectors, [E, 3] in Å, into a graph.

    Raises:
        UserError: two atoms coincide.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    if len(lengths) and lengths.min() < SMALLEST_DISTANCE:
        closest = int(lengths.argmin())
        raise UserError(
            f"atoms {centres[closest]} and {neighbours[closest]} of {atoms.get_chemical_formula()} are "
            f"{lengths[closest]:.3g} Å apart, on top of each other: remove one of them"
        )
    by_centre_then_length = np.lexsort((lengths, centres))
    counts = np.bincount(centres, minlength=len(atoms))
    return AtomGraph(
        numbers=atoms.numbers.astype(np.int64),
        offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        neighbours=neighbours[by_centre_then_length],
        vectors=vectors[by_centre_then_length],
        num_line=np.bincount(centres[lengths < line_cutoff], minlength=len(atoms)).astype(np.int64),
        volume=float(abs(np.linalg.det(atoms.cell.array))) if atoms.pbc.all() else 0.0,
    )
