"""One graph over several ranks: every edge and angle with its centre, features of neighbours from their owners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from janus_md.graph import AtomGraph
from janus_training.parallel.collectives import all_to_all
from janus_training.parallel.mesh import Group

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A rank's atoms of a divided graph.

    Attributes:
        graph: their edges; neighbours held elsewhere are its ghosts.
        atoms: which atoms they are, [n]. ghosts: the same of the ghosts, by owner. owners: of the ghosts.
        sent: for each rank, which of ``atoms`` (by place) it needs, in the order of its ghosts.
    """

    graph: AtomGraph
    atoms: Integers
    ghosts: Integers
    owners: Integers
    sent: list[Integers]


def bisect(positions: NDArray[np.float64], cost: NDArray[np.float64], parts: int) -> Integers:
    """Part of each atom, [N]: halved along the longest direction until there are ``parts`` of equal cost."""
    part = np.zeros(len(cost), dtype=np.int64)
    _bisect(positions, cost, parts, np.arange(len(cost)), part, 0)
    return part


def _bisect(
    positions: NDArray[np.float64], cost: NDArray[np.float64], parts: int,
    chosen: Integers, part: Integers, first: int,
) -> None:  # fmt: skip
    if parts == 1 or not len(chosen):
        part[chosen] = first
        return
    left = parts // 2
    axis = int(np.ptp(positions[chosen], axis=0).argmax())
    ordered = chosen[np.argsort(positions[chosen, axis], kind="stable")]
    middle = np.cumsum(cost[ordered]) - 0.5 * cost[ordered]
    cut = int(np.searchsorted(middle, cost[ordered].sum() * left / parts))
    _bisect(positions, cost, left, ordered[:cut], part, first)
    _bisect(positions, cost, parts - left, ordered[cut:], part, first + left)


def take_part(graph: AtomGraph, owner: Integers, place: int, parts: int) -> Part:
    """What the rank at ``place`` holds where ``owner`` [N] says whose each atom is."""
    centres = graph.centres
    # Which rank needs which atom of another: pairs (rank, atom), sorted.
    needs = owner[centres] * graph.num_atoms + graph.neighbours
    needs = np.unique(needs[owner[centres] != owner[graph.neighbours]])
    ranks, needed = np.divmod(needs, max(1, graph.num_atoms))
    mine, ghosts = np.flatnonzero(owner == place), needed[ranks == place]
    ghosts = ghosts[np.argsort(owner[ghosts], kind="stable")]
    places = np.zeros(graph.num_atoms, dtype=np.int64)
    places[mine], places[ghosts] = np.arange(len(mine)), len(mine) + np.arange(len(ghosts))
    sent = [places[needed[(ranks == rank) & (owner[needed] == place)]] for rank in range(parts)]
    held = owner[centres] == place
    counts = np.diff(graph.offsets)[mine]
    part = AtomGraph(
        numbers=graph.numbers[np.concatenate([mine, ghosts])],
        offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        neighbours=places[graph.neighbours[held]],
        vectors=graph.vectors[held],
        num_line=graph.num_line[mine],
        volume=graph.volume,
        whole=graph.numbers,
    )
    return Part(part, mine, ghosts, owner[ghosts], sent)


@dataclass(frozen=True)
class Halo:
    """Exchange of what atoms at the edge of a rank's parts have.

    Attributes:
        rows: atoms to send, by rank, as places in the batch. atoms: the same as places in its input order.
        sent, received: how many atoms go to and come from each rank.
        arrange: place of each ghost among the atoms received.
        graphs: how many of the batch's graphs, the first ones, are divided.
    """

    rows: Tensor
    atoms: Tensor
    sent: list[int]
    received: list[int]
    arrange: Tensor
    graphs: int
    group: Group

    def spread(self, own: Tensor) -> Tensor:
        """Features [N, ...] of a rank's atoms → [N_all, ...], ghosts' after them."""
        taken = own.index_select(0, self.rows)
        found = all_to_all(taken, self.sent, self.received, self.group, "graphs")
        return torch.cat([own, found.index_select(0, self.arrange)])

    def bring_home(self, rows: Tensor) -> Tensor:
        """Rows of atoms in input order, then of ghosts, [N_all, ...] → those of the atoms, ghosts' added, [N, ...]."""
        own, ghosts = rows.split([len(rows) - len(self.arrange), len(self.arrange)])
        ordered = torch.zeros_like(ghosts).index_copy(0, self.arrange, ghosts)
        found = all_to_all(ordered, self.received, self.sent, self.group, "graphs")
        return own.index_add(0, self.atoms, found)

    def to(self, device: torch.device) -> Halo:
        """The same halo of features on another device."""
        moved = (t.to(device) for t in (self.rows, self.atoms, self.arrange))
        rows, atoms, arrange = moved
        return Halo(rows, atoms, self.sent, self.received, arrange, self.graphs, self.group)


def join_halos(parts: Sequence[Part], order: Tensor, group: Group) -> Halo:
    """The halo of a batch that begins with ``parts``; ``order``: :attr:`janus_md.graph.GraphBatch.order`."""
    first = np.cumsum([0, *(len(part.atoms) for part in parts)])
    by_rank = [
        np.concatenate([part.sent[rank] + begin for part, begin in zip(parts, first, strict=False)])
        for rank in range(group.size)
    ]
    owners = np.concatenate([part.owners for part in parts])
    # Ghosts lie part by part, what arrives rank by rank; inside both the order is the same.
    arrange = np.empty(len(owners), dtype=np.int64)
    arrange[np.argsort(owners, kind="stable")] = np.arange(len(owners))
    atoms = torch.from_numpy(np.concatenate(by_rank))
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    return Halo(
        rows=place[atoms],
        atoms=atoms,
        sent=[len(rows) for rows in by_rank],
        received=np.bincount(owners, minlength=group.size).tolist(),
        arrange=torch.from_numpy(arrange),
        graphs=len(parts),
        group=group,
    )
