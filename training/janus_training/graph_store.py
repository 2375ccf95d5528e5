"""Graphs of frames, kept between epochs, and batches of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_md.errors import UserError
from janus_md.graph import AtomGraph, batch_graphs, build_graph
from janus_md.graph.tables import Layout, split_by_width
from janus_md.io import Frame
from janus_md.io.frames import LABELS
from janus_training.batches import Batch, Targets, targets_of
from janus_training.parallel.mesh import Mesh


@dataclass(frozen=True)
class Counts:
    """What graphs cost.

    ``costs`` [graphs, 3]: atoms, edges and angles; ``neighbours`` [atoms of all of them]; ``line_edges`` of all.
    """

    costs: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    line_edges: int

    @staticmethod
    def of(graphs: Iterable[AtomGraph]) -> Counts:
        costs, neighbours, line_edges = [], [], 0
        for graph in graphs:
            costs.append((graph.num_atoms, graph.num_edges, graph.num_angles))
            neighbours.append(np.diff(graph.offsets))
            line_edges += int(graph.num_line.sum())
        return Counts(
            np.array(costs, dtype=np.int64).reshape(-1, 3), _joined(neighbours), line_edges
        )

    def neighbours_by_graph(self) -> list[NDArray[np.int64]]:
        """Of each graph's atoms."""
        ends = np.cumsum(self.costs[:, 0])
        return np.split(self.neighbours, ends)[: len(ends)]


class GraphStore:
    """Graphs of a list of frames. Up to ``memory`` GB of them are kept; the others are built when asked for.

    To know what each costs, all are built once: by the ranks of ``mesh`` together, who each build their part of them.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        tasks: Sequence[str],
        cutoff: float,
        line_cutoff: float,
        memory: float,
        mesh: Mesh | None = None,
    ) -> None:
        """Raises ``UserError``, on all ranks, where a graph cannot be built."""
        self.frames = frames
        self.layout: Layout = split_by_width
        self.by_width: Layout = split_by_width
        """How parts of divided graphs are put into tables, whose rows are atoms."""
        self._tasks = {name: number for number, name in enumerate(tasks)}
        self._cutoffs = cutoff, line_cutoff
        self._kept: dict[int, AtomGraph] = {}
        self._room = memory * 1e9
        self._members = np.array([_labelled(frame) for frame in frames]).reshape(-1, len(LABELS))
        mesh = mesh or Mesh()
        parts = [slice(rank, None, mesh.world.size) for rank in range(mesh.world.size)]
        own = range(len(frames))[parts[mesh.world.place]]
        counts = mesh.by_all(lambda: Counts.of(self.graph(index) for index in own))
        self.line_edges = sum(count.line_edges for count in counts)
        self.costs: NDArray[np.int64] = np.zeros((len(frames), 3), dtype=np.int64)
        """Atoms, edges and angles of each frame, [frames, 3]."""
        self.neighbour_counts = len(frames) * [np.zeros(0, dtype=np.int64)]
        """Of each frame's atoms."""
        for part, count in zip(parts, counts, strict=True):
            self.costs[part] = count.costs
            self.neighbour_counts[part] = count.neighbours_by_graph()

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, indices: Iterable[int], layout: Layout | None = None) -> Batch:
        """The frames ``indices`` as one batch, in that order; ``layout``: another than the store's."""
        chosen = [int(index) for index in indices]
        targets = targets_of([self.frames[index] for index in chosen])
        graphs = [self.graph(index) for index in chosen]
        return self.put_together(graphs, chosen, targets, self.members(chosen), layout)

    def graph(self, index: int) -> AtomGraph:
        """The graph of one frame, kept from now on where there is room."""
        if index in self._kept:
            return self._kept[index]
        graph = self._build(index)
        if (size := _size(graph)) < self._room:
            self._room -= size
            self._kept[index] = graph
        return graph

    def members(self, indices: Sequence[int]) -> dict[str, int]:
        """How many structures or atoms of these frames have each label."""
        counts = self._members[list(indices)].sum(axis=0)
        return dict(zip(LABELS, counts.tolist(), strict=True))

    @property
    def atoms_by_neighbours(self) -> NDArray[np.int64]:
        """Number of atoms with 0, 1, 2 … neighbours."""
        return np.bincount(_joined(self.neighbour_counts), minlength=1)

    def atoms(self, indices: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Neighbour counts and atomic numbers of the atoms of these frames."""
        counts = [self.neighbour_counts[index] for index in indices]
        return _joined(counts), _joined([self.frames[index].atoms.numbers for index in indices])

    def put_together(
        self,
        graphs: Sequence[AtomGraph],
        indices: Sequence[int],
        targets: Targets,
        members: dict[str, int],
        layout: Layout | None = None,
    ) -> Batch:
        """Graphs of the frames ``indices``, or parts of them, as a share of a batch with so many labels."""
        frames = [self.frames[index] for index in indices]
        batch = batch_graphs(
            graphs,
            task=[self._tasks[frame.task] for frame in frames],
            charge=[frame.charge for frame in frames],
            spin=[frame.spin for frame in frames],
            layout=layout or self.layout,
        )
        return Batch(batch, targets, members)

    def _build(self, index: int) -> AtomGraph:
        frame = self.frames[index]
        try:
            return build_graph(frame.atoms, *self._cutoffs)
        except UserError as fault:
            raise UserError(f"{frame.where}: {fault}") from None


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _labelled(frame: Frame) -> list[int]:
    """What each label counts for: forces and magnetic moments are of atoms."""
    atoms = len(frame.atoms)
    of_atoms = {"forces": atoms, "magmoms": atoms}
    return [0 if getattr(frame, name) is None else of_atoms.get(name, 1) for name in LABELS]


def _size(graph: AtomGraph) -> int:
    """Bytes of a graph's arrays."""
    arrays = (
        graph.numbers,
        graph.offsets,
        graph.neighbours,
        graph.vectors,
        graph.num_line,
    )
    return sum(array.nbytes for array in arrays)
