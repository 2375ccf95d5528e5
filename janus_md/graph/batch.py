"""Several graphs side by side, as padded neighbour tables.

A table has one row an atom and one slot a neighbour. An unused slot holds a neighbour far beyond the cutoff: every sum
of the model is weighted by an envelope that is exactly zero there, so padding needs no masks. Atoms with similar
numbers of neighbours share a table (a bucket), which bounds the padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
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


@dataclass(frozen=True)
class GraphBatch:
    """Rows are atoms, bucket by bucket; inside a bucket they are sorted by atomic number.

    Attributes:
        numbers: atomic numbers, int64 [N].
        graph: index of each atom's graph, int64 [N].
        order: place of each row's atom in the concatenated input, int64 [N].
        neighbours: row index of each neighbour, one int64 [n_b, K_b] per bucket.
        vectors: edge vectors in Å, nearest first, one float64 [n_b, K_b, 3] per bucket.
        line_counts: L_b; the line-graph edges of a row are among its first L_b slots.
        num_graphs: B.
        volume: Å³, float64 [B]; zero where not fully periodic.
        task: int64 [B]. charge: e, float64 [B]. spin: multiplicity, float64 [B].
    """

    numbers: Tensor
    graph: Tensor
    order: Tensor
    neighbours: list[Tensor]
    vectors: list[Tensor]
    line_counts: list[int]
    num_graphs: int
    volume: Tensor
    task: Tensor
    charge: Tensor
    spin: Tensor

    @property
    def num_atoms(self) -> int:
        return len(self.numbers)

    def to(self, device: torch.device | str) -> GraphBatch:
        """The same batch with every tensor on ``device``."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return replace(
            self,
            numbers=move(self.numbers),
            graph=move(self.graph),
            order=move(self.order),
            neighbours=[move(table) for table in self.neighbours],
            vectors=[move(table) for table in self.vectors],
            volume=move(self.volume),
            task=move(self.task),
            charge=move(self.charge),
            spin=move(self.spin),
        )


def batch_graphs(
    graphs: Sequence[AtomGraph],
    task: Sequence[int] | None = None,
    charge: Sequence[float] | None = None,
    spin: Sequence[float] | None = None,
    split: Callable[[np.ndarray, np.ndarray], list[np.ndarray]] | None = None,
) -> GraphBatch:
    """Put graphs side by side; periodic, partly periodic and isolated ones may be mixed.

    ``task``, ``charge`` (e) and ``spin`` (multiplicity) are one value a graph; zero where left out.
    ``split`` makes the buckets from neighbour counts and atomic numbers: :func:`split_by_width` (None) for the
    least padding, :func:`keep_together` for one table.
    """
    sizes = np.array([graph.num_atoms for graph in graphs], dtype=np.int64)
    first_atom = np.concatenate(([0], np.cumsum(sizes)))
    first_edge = np.concatenate(([0], np.cumsum([graph.num_edges for graph in graphs])))
    numbers = np.concatenate([graph.numbers for graph in graphs])
    starts = np.concatenate([g.offsets[:-1] + e for g, e in zip(graphs, first_edge, strict=False)])
    counts = np.concatenate([np.diff(graph.offsets) for graph in graphs])
    neighbours = np.concatenate(
        [g.neighbours + a for g, a in zip(graphs, first_atom, strict=False)]
    )
    vectors = np.concatenate([graph.vectors for graph in graphs])
    num_line = np.concatenate([graph.num_line for graph in graphs])

    buckets = (split or split_by_width)(counts, numbers)
    order = np.concatenate(buckets)
    row_of_atom = np.empty_like(order)
    row_of_atom[order] = np.arange(len(order))
    tables, padded, line_counts = [], [], []
    for rows in buckets:
        width = max(1, int(counts[rows].max(initial=0)))
        slots = np.arange(width)
        used = slots < counts[rows, None]
        source = np.where(used, starts[rows, None] + slots, 0)
        table = np.broadcast_to(row_of_atom[rows, None], source.shape).copy()
        table[used] = row_of_atom[neighbours[source[used]]]
        vector = np.zeros((*source.shape, 3))
        vector[..., 0] = FAR_AWAY
        vector[used] = vectors[source[used]]
        tables.append(torch.from_numpy(table))
        padded.append(torch.from_numpy(vector))
        line_counts.append(int(num_line[rows].max(initial=0)))

    def per_graph(values: Sequence[float] | None, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor([0] * len(graphs) if values is None else list(values), dtype=dtype)

    return GraphBatch(
        numbers=torch.from_numpy(numbers[order]),
        graph=torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes)[order]),
        order=torch.from_numpy(order),
        neighbours=tables,
        vectors=padded,
        line_counts=line_counts,
        num_graphs=len(graphs),
        volume=torch.tensor([graph.volume for graph in graphs], dtype=torch.float64),
        task=per_graph(task, torch.int64),
        charge=per_graph(charge, torch.float64),
        spin=per_graph(spin, torch.float64),
    )


def split_by_width(counts: np.ndarray, numbers: np.ndarray) -> list[np.ndarray]:
    """Atoms of similar neighbour count together, each bucket sorted by atomic number."""
    by_count = np.argsort(-counts, kind="stable")
    buckets = []
    begin = 0
    while begin < len(by_count):
        narrow = counts[by_count[begin:]] < LARGEST_PADDING * counts[by_count[begin]]
        wide = int(narrow.argmax()) if narrow.any() else len(narrow)
        end = begin + max(wide, SMALLEST_BUCKET)
        end = min(
            end, begin + max(SMALLEST_BUCKET, LARGEST_BUCKET // max(1, counts[by_count[begin]]))
        )
        if len(by_count) - end < SMALLEST_BUCKET:
            end = len(by_count)
        rows = np.sort(by_count[begin:end])
        buckets.append(rows[np.argsort(numbers[rows], kind="stable")])
        begin = end
    return buckets or [np.zeros(0, dtype=np.int64)]


def keep_together(counts: np.ndarray, numbers: np.ndarray) -> list[np.ndarray]:
    """All atoms in one bucket, sorted by atomic number: what a compiled step takes."""
    return [np.argsort(numbers, kind="stable")]
