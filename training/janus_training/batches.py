"""Frames to tensors: graphs kept between epochs, labels with masks, batches prepared ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from janus_md.errors import UserError
from janus_md.graph import AtomGraph, GraphBatch, batch_graphs, build_graph
from janus_md.graph.batch import Layout, split_by_width
from janus_md.io import Frame
from janus_training.parallel.mesh import Mesh

Item = TypeVar("Item")

LABELS = ("energy", "forces", "stress", "magmoms")


@dataclass(frozen=True)
class Targets:
    """Labels of a batch in input order, float64; zeros where the mask beside them says there is none.

    ``energy`` [B] eV, ``forces`` [N, 3], ``stress`` [B, 3, 3], ``magmoms`` [N] (absolute values);
    ``has_energy`` and ``has_stress`` [B], ``has_forces`` and ``has_magmoms`` [N]; ``sizes`` [B] atoms.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    magmoms: Tensor
    has_energy: Tensor
    has_forces: Tensor
    has_stress: Tensor
    has_magmoms: Tensor
    sizes: Tensor

    def to(self, device: torch.device) -> Targets:
        """The same labels on another device."""
        return Targets(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class Batch:
    """Graphs with labels: a whole batch, or this process's share of one.

    ``members``: how many structures or atoms of the whole batch have each label.
    """

    graphs: GraphBatch
    targets: Targets
    members: dict[str, int]

    def to(self, device: torch.device) -> Batch:
        return replace(self, graphs=self.graphs.to(device), targets=self.targets.to(device))


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


def targets_of(frames: Sequence[Frame]) -> Targets:
    """Labels of frames put side by side."""
    sizes = torch.tensor([len(frame.atoms) for frame in frames], dtype=torch.int64)
    energy = [0.0 if frame.energy is None else frame.energy for frame in frames]
    stress = [np.zeros((3, 3)) if frame.stress is None else frame.stress for frame in frames]

    def per_atom(name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        values = [getattr(frame, name) for frame in frames]
        filled = [
            np.zeros((len(frame.atoms), *shape)) if value is None else value
            for frame, value in zip(frames, values, strict=True)
        ]
        present = torch.tensor([value is not None for value in values], dtype=torch.bool)
        whole = np.concatenate([np.zeros((0, *shape)), *filled])
        return torch.from_numpy(whole), present.repeat_interleave(sizes)

    forces, has_forces = per_atom("forces", (3,))
    magmoms, has_magmoms = per_atom("magmoms", ())
    return Targets(
        energy=torch.tensor(energy, dtype=torch.float64),
        forces=forces,
        stress=torch.from_numpy(np.array(stress).reshape(-1, 3, 3)),
        magmoms=magmoms.abs(),
        has_energy=torch.tensor([frame.energy is not None for frame in frames], dtype=torch.bool),
        has_forces=has_forces,
        has_stress=torch.tensor([frame.stress is not None for frame in frames], dtype=torch.bool),
        has_magmoms=has_magmoms,
        sizes=sizes,
    )


def prefetch(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """The items of ``source``, made up to ``depth`` ahead by a background thread.

    Order and content are those of ``source``; an exception in it is raised here in its turn. Closing
    the iterator ends the thread, which computes without helpers: where there are more OpenMP threads than
    cores, libgomp lets all of them sleep between parallel regions, and waking them costs more than they gain.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        torch.set_num_threads(1)  # a second team of threads would keep the step's from spinning
        try:
            for item in source:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as fault:
            put((None, fault))

    thread = threading.Thread(target=work, daemon=True, name="batches")
    thread.start()
    try:
        while True:
            item, fault = ready.get()
            if isinstance(fault, StopIteration):
                return
            if fault is not None:
                raise fault
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


def _size(graph: AtomGraph) -> int:
    """Bytes of a graph's arrays."""
    arrays = (
        graph.numbers,
        graph.offsets,
        graph.neighbours,
        graph.shifts,
        graph.vectors,
        graph.num_line,
    )
    return sum(array.nbytes for array in arrays)
