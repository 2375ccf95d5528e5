"""Several graphs side by side, as padded neighbour tables.

A table has one slot a neighbour. An unused slot holds a neighbour far beyond the cutoff: every sum of the model is
weighted by an envelope that is exactly zero there, so padding needs no masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from janus_md.graph.neighbours import AtomGraph
from janus_md.graph.tables import Layout, split_by_width, table_rows

FAR_AWAY = 1000.0
"""Å, the length of an unused slot's edge; beyond any cutoff."""

NUMBERS = len(atomic_numbers)
"""Atomic numbers from 0 to that of the heaviest element."""


@dataclass(frozen=True)
class GraphBatch:
    """Atoms, bucket by bucket, inside a bucket sorted by atomic number; after them ghosts, in the order of the graphs.

    Attributes:
        numbers: atomic numbers, int64 [N_all]: of N atoms, then of ghosts, which have no rows of their own. On the CPU
            wherever the rest is: a look at them does not wait for a device.
        graph: index of each atom's graph, int64 [N_all].
        order: place of each of the N atoms in the concatenated input, int64 [N].
        neighbours: index of each neighbour among these atoms, one int64 [n_b, K_b] per bucket.
        owners: atom of each row of a bucket, int64 [n_b], sorted; empty where row and atom are the same.
        vectors: edge vectors in Å, nearest first, one float64 [n_b, K_b, 3] per bucket.
        line_counts: L_b; the line-graph edges of a row are among its first L_b slots.
        num_graphs: B.
        volume: Å³, float64 [B]; zero where not fully periodic. On the CPU, as ``numbers``.
        composition: fraction of each atomic number in each structure, float64 [B, 119].
        task: int64 [B]. charge: e, float64 [B]. spin: multiplicity, float64 [B].
    """

    numbers: Tensor
    graph: Tensor
    order: Tensor
    neighbours: list[Tensor]
    owners: list[Tensor]
    vectors: list[Tensor]
    line_counts: list[int]
    num_graphs: int
    volume: Tensor
    composition: Tensor
    task: Tensor
    charge: Tensor
    spin: Tensor

    @property
    def num_atoms(self) -> int:
        """N, without ghosts."""
        return len(self.order)

    def to(self, device: torch.device | str) -> GraphBatch:
        """The same batch with every tensor but ``numbers`` and ``volume`` on ``device``."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return replace(
            self,
            graph=move(self.graph),
            order=move(self.order),
            neighbours=[move(table) for table in self.neighbours],
            owners=[move(rows) for rows in self.owners],
            vectors=[move(table) for table in self.vectors],
            composition=move(self.composition),
            task=move(self.task),
            charge=move(self.charge),
            spin=move(self.spin),
        )


def batch_graphs(
    graphs: Sequence[AtomGraph],
    task: Sequence[int] | None = None,
    charge: Sequence[float] | None = None,
    spin: Sequence[float] | None = None,
    layout: Layout | None = None,
) -> GraphBatch:
    """Put graphs side by side; periodic, partly periodic and isolated ones may be mixed.

    ``task``, ``charge`` (e) and ``spin`` (multiplicity) are one value a graph; zero where left out.
    ``layout``: which atoms share a table and how wide its rows are; :func:`split_by_width` if None.
    """
    whole = _side_by_side(graphs)
    buckets, narrow = (layout or split_by_width)(whole.counts, whole.numbers)
    order = np.concatenate(buckets)
    place = np.arange(len(order) + len(whole.ghost_numbers))
    place[order] = np.arange(len(order))
    tables = [_table(whole, atoms, narrow, place) for atoms in buckets]
    graph_of_atom = np.repeat(np.arange(len(graphs)), whole.sizes)
    graph_of_ghost = np.repeat(np.arange(len(graphs)), whole.ghosts)

    def per_graph(values: Sequence[float] | None, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor([0] * len(graphs) if values is None else list(values), dtype=dtype)

    return GraphBatch(
        numbers=torch.from_numpy(np.concatenate([whole.numbers[order], whole.ghost_numbers])),
        graph=torch.from_numpy(np.concatenate([graph_of_atom[order], graph_of_ghost])),
        order=torch.from_numpy(order),
        neighbours=[torch.from_numpy(table.neighbours) for table in tables],
        owners=[torch.from_numpy(table.owners) for table in tables],
        vectors=[torch.from_numpy(table.vectors) for table in tables],
        line_counts=[table.line_count for table in tables],
        num_graphs=len(graphs),
        volume=torch.tensor([graph.volume for graph in graphs], dtype=torch.float64),
        composition=torch.from_numpy(
            np.array([_fractions(g) for g in graphs]).reshape(-1, NUMBERS)
        ),
        task=per_graph(task, torch.int64),
        charge=per_graph(charge, torch.float64),
        spin=per_graph(spin, torch.float64),
    )


@dataclass(frozen=True)
class _SideBySide:
    """Graphs one after the other: all atoms, then all ghosts.

    Attributes:
        sizes, ghosts: of each graph. numbers: of atoms. ghost_numbers: of ghosts.
        starts, counts, num_line: of each atom, its first edge, its edges, and those in the line graph.
        neighbours, vectors: of each edge, nearest first within an atom.
    """

    sizes: np.ndarray
    ghosts: np.ndarray
    numbers: np.ndarray
    ghost_numbers: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    num_line: np.ndarray
    neighbours: np.ndarray
    vectors: np.ndarray


def _side_by_side(graphs: Sequence[AtomGraph]) -> _SideBySide:
    sizes = np.array([graph.num_atoms for graph in graphs], dtype=np.int64)
    ghosts = np.array([len(graph.numbers) for graph in graphs], dtype=np.int64) - sizes
    first_atom, first_ghost = _before(sizes), sizes.sum() + _before(ghosts)
    first_edge = _before(np.array([graph.num_edges for graph in graphs], dtype=np.int64))
    return _SideBySide(
        sizes=sizes,
        ghosts=ghosts,
        numbers=_joined([graph.numbers[: graph.num_atoms] for graph in graphs], np.int64),
        ghost_numbers=_joined([graph.numbers[graph.num_atoms :] for graph in graphs], np.int64),
        starts=_joined(
            [g.offsets[:-1] + e for g, e in zip(graphs, first_edge, strict=True)], np.int64
        ),
        counts=_joined([np.diff(graph.offsets) for graph in graphs], np.int64),
        num_line=_joined([graph.num_line for graph in graphs], np.int64),
        neighbours=_joined(
            [
                np.where(g.neighbours < n, g.neighbours + a, g.neighbours - n + b)
                for g, n, a, b in zip(graphs, sizes, first_atom, first_ghost, strict=True)
            ],
            np.int64,
        ),
        vectors=_joined([graph.vectors for graph in graphs], np.float64, 3),
    )


@dataclass(frozen=True)
class _Table:
    """One bucket; attributes as those of :class:`GraphBatch`."""

    neighbours: np.ndarray
    owners: np.ndarray
    vectors: np.ndarray
    line_count: int


def _table(whole: _SideBySide, atoms: np.ndarray, narrow: int | None, place: np.ndarray) -> _Table:
    """``atoms``: of the bucket. ``narrow``: slots of a row if an atom owns several. ``place``: of all, in the batch."""
    width, per_atom = table_rows(whole.counts[atoms], narrow)
    owners = np.repeat(np.arange(len(atoms)), per_atom)
    rows = atoms[owners]
    row_of_owner = np.arange(len(rows)) - np.repeat(_before(per_atom), per_atom)
    slots = row_of_owner[:, None] * width + np.arange(width)
    used = slots < whole.counts[rows, None]
    edges = (whole.starts[rows, None] + slots)[used]
    neighbours = np.broadcast_to(place[rows, None], slots.shape).copy()
    neighbours[used] = place[whole.neighbours[edges]]
    vectors = np.zeros((*slots.shape, 3))
    vectors[..., 0] = FAR_AWAY
    vectors[used] = whole.vectors[edges]
    return _Table(
        neighbours,
        owners if narrow else owners[:0],
        vectors,
        0 if narrow else int(whole.num_line[atoms].max(initial=0)),
    )


def _fractions(graph: AtomGraph) -> np.ndarray:
    """Of each atomic number in the structure, [119]."""
    numbers = graph.numbers if graph.whole is None else graph.whole
    return np.bincount(numbers, minlength=NUMBERS) / max(1, len(numbers))


def _before(sizes: np.ndarray) -> np.ndarray:
    """Sum of the sizes before each."""
    return np.cumsum(sizes) - sizes


def _joined(parts: list[np.ndarray], dtype: type, *width: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, *width), dtype=dtype), *parts])
