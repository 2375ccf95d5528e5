"""Several graphs side by side, as padded neighbour tables.

A table has one slot a neighbour. An unused slot holds a neighbour far beyond the cutoff: every sum of the model is
weighted by an envelope that is exactly zero there, so padding needs no masks. Padding is bounded in either of two ways:
a row is an atom, and atoms with similar numbers of neighbours share a table (a bucket); or there is one table of narrow
rows, and an atom owns as many as it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase.data import atomic_numbers
from torch import Tensor

from janus_md.graph.neighbours import AtomGraph

FAR_AWAY = 1000.0
"""Å, the length of an unused slot's edge; beyond any cutoff."""

SMALLEST_BUCKET = 32
"""Rows; below this the saved padding is worth less than the extra matrix products."""

LARGEST_BUCKET = 4096
"""Slots; what a block holds at once is bounded by this, and small tables stay in cache."""

LARGEST_PADDING = 0.8
"""A new bucket begins where an atom has fewer neighbours than this share of the widest one of its bucket."""


NUMBERS = len(atomic_numbers)
"""Atomic numbers from 0 to that of the heaviest element."""

ROW_COST = 3
"""What a narrow row costs beyond its slots, in slots: its moments are added to those of the atom's other rows."""

Layout = Callable[[np.ndarray, np.ndarray], tuple[list[np.ndarray], int | None]]
"""Neighbour counts and atomic numbers → the atoms of each bucket, and the slots of a row if an atom owns several."""


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
    sizes = np.array([graph.num_atoms for graph in graphs], dtype=np.int64)
    ghosts = np.array([len(graph.numbers) for graph in graphs], dtype=np.int64) - sizes
    first_atom, first_ghost = _before(sizes), sizes.sum() + _before(ghosts)
    numbers = _joined([graph.numbers[: graph.num_atoms] for graph in graphs], np.int64)
    ghost_numbers = _joined([graph.numbers[graph.num_atoms :] for graph in graphs], np.int64)
    first_edge = _before(np.array([graph.num_edges for graph in graphs], dtype=np.int64))
    starts = _joined(
        [g.offsets[:-1] + e for g, e in zip(graphs, first_edge, strict=True)], np.int64
    )
    counts = _joined([np.diff(graph.offsets) for graph in graphs], np.int64)
    neighbours = _joined(
        [
            np.where(g.neighbours < n, g.neighbours + a, g.neighbours - n + b)
            for g, n, a, b in zip(graphs, sizes, first_atom, first_ghost, strict=True)
        ],
        np.int64,
    )
    vectors = _joined([graph.vectors for graph in graphs], np.float64, 3)
    num_line = _joined([graph.num_line for graph in graphs], np.int64)

    buckets, narrow = (layout or split_by_width)(counts, numbers)
    order = np.concatenate(buckets)
    place = np.arange(len(order) + len(ghost_numbers))
    place[order] = np.arange(len(order))
    tables, padded, line_counts, owners = [], [], [], []
    for atoms in buckets:
        width, per_atom = table_rows(counts[atoms], narrow)
        owner = np.repeat(np.arange(len(atoms)), per_atom)
        rows = atoms[owner]
        row_of_owner = np.arange(len(rows)) - np.repeat(np.cumsum(per_atom) - per_atom, per_atom)
        slots = row_of_owner[:, None] * width + np.arange(width)
        used = slots < counts[rows, None]
        source = np.where(used, starts[rows, None] + slots, 0)
        table = np.broadcast_to(place[rows, None], source.shape).copy()
        table[used] = place[neighbours[source[used]]]
        vector = np.zeros((*source.shape, 3))
        vector[..., 0] = FAR_AWAY
        vector[used] = vectors[source[used]]
        tables.append(torch.from_numpy(table))
        padded.append(torch.from_numpy(vector))
        owners.append(torch.from_numpy(owner if narrow else owner[:0]))
        line_counts.append(0 if narrow else int(num_line[atoms].max(initial=0)))

    owner_graphs, ghost_graphs = (np.repeat(np.arange(len(graphs)), n) for n in (sizes, ghosts))

    def per_graph(values: Sequence[float] | None, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor([0] * len(graphs) if values is None else list(values), dtype=dtype)

    return GraphBatch(
        numbers=torch.from_numpy(np.concatenate([numbers[order], ghost_numbers])),
        graph=torch.from_numpy(np.concatenate([owner_graphs[order], ghost_graphs])),
        order=torch.from_numpy(order),
        neighbours=tables,
        owners=owners,
        vectors=padded,
        line_counts=line_counts,
        num_graphs=len(graphs),
        volume=torch.tensor([graph.volume for graph in graphs], dtype=torch.float64),
        composition=torch.from_numpy(
            np.array([_fractions(g) for g in graphs]).reshape(-1, NUMBERS)
        ),
        task=per_graph(task, torch.int64),
        charge=per_graph(charge, torch.float64),
        spin=per_graph(spin, torch.float64),
    )


def table_rows(counts: np.ndarray, narrow: int | None) -> tuple[int, np.ndarray]:
    """Slots of a row, and rows of each atom, of a table of atoms with so many neighbours."""
    width = narrow or max(1, int(counts.max(initial=0)))
    return width, np.maximum(-(-counts // width), 1)


def _fractions(graph: AtomGraph) -> np.ndarray:
    """Of each atomic number in the structure, [119]."""
    numbers = graph.numbers if graph.whole is None else graph.whole
    return np.bincount(numbers, minlength=NUMBERS) / max(1, len(numbers))


def _before(sizes: np.ndarray) -> np.ndarray:
    """Sum of the sizes before each."""
    return np.cumsum(sizes) - sizes


def _joined(parts: list[np.ndarray], dtype: type, *width: int) -> np.ndarray:
    return np.concatenate([np.zeros((0, *width), dtype=dtype), *parts])


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
