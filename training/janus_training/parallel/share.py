"""A rank's share of a batch: whole graphs, and parts of those that are too large for one rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray

from janus_md.graph.tables import Layout
from janus_training.batches import Batch, Targets, targets_of
from janus_training.graph_store import GraphStore
from janus_training.parallel.balance import Assignment, assign, predicted_cost
from janus_training.parallel.graph import Halo, Part, bisect, join_halos, take_part
from janus_training.parallel.mesh import Mesh
from janus_training.parallel.tokens import Integers, Tokens, count_tokens


@dataclass(frozen=True)
class Share:
    """What this rank computes of a batch.

    Attributes:
        batch: its graphs; parts of divided ones come first.
        halo: how the parts hang together; None where this rank's unit has none.
        tokens: atoms and edges of each atomic number on each rank of the unit; all have equally many tables.
        imbalance: largest predicted cost of a rank over the mean, less one.
    """

    batch: Batch
    halo: Halo | None
    tokens: Tokens
    imbalance: float

    def to(self, device: torch.device) -> Share:
        """The same share on another device."""
        halo = None if self.halo is None else self.halo.to(device)
        return replace(self, batch=self.batch.to(device), halo=halo)


class Shares:
    """Divides batches over the ranks of a mesh. Every rank finds the same division, without asking the others."""

    def __init__(
        self,
        store: GraphStore,
        mesh: Mesh,
        too_large: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    ) -> None:
        """too_large: which graphs with so many atoms, edges and angles [n, 3] have to be divided, [n]."""
        self._store = store
        self._mesh = mesh
        self._too_large = too_large

    def __call__(self, chosen: Sequence[int]) -> Share:
        """This rank's share of the frames ``chosen``."""
        store, mesh = self._store, self._mesh
        chosen = [int(index) for index in chosen]
        unit = mesh.unit.size
        plan = self._assignment(chosen)
        team = mesh.world.place // unit
        owners = {i: self._owners(chosen[i]) for i in plan.divided[team]}
        parts = [
            take_part(store.graph(chosen[i]), owner, mesh.unit.place, unit)
            for i, owner in owners.items()
        ]
        own = [chosen[i] for i in plan.whole[mesh.world.place]]
        members = store.members(chosen)
        indices = [*(chosen[i] for i in plan.divided[team]), *own]
        graphs = [*(part.graph for part in parts), *(store.graph(index) for index in own)]
        targets = [
            *(
                _targets_of_part(
                    targets_of([store.frames[chosen[i]]]), part, number % unit == mesh.unit.place
                )
                for number, (i, part) in enumerate(zip(owners, parts, strict=True))
            ),
            targets_of([store.frames[index] for index in own]),
        ]
        tokens = self._tokens(chosen, plan, team, owners)
        layout = tokens.filled_up(self._layout(owners))
        batch = store.put_together(graphs, indices, _joined(targets), members, layout)
        halo = join_halos(parts, batch.graphs.order, mesh.unit) if parts else None
        return Share(batch, halo, tokens, plan.imbalance)

    def slots(self, chosen: Sequence[int]) -> Integers:
        """Slots of the tables that each rank makes of the frames ``chosen``, padding included, [ranks]."""
        plan = self._assignment(chosen)
        found = []
        for team, divided in enumerate(plan.divided):
            owners = {i: self._owners(chosen[i]) for i in divided}
            found.append(self._tokens(chosen, plan, team, owners).edges.sum(axis=(1, 2)))
        return np.concatenate(found)

    def _assignment(self, chosen: Sequence[int]) -> Assignment:
        """Who takes which of the frames ``chosen``, by their places in it."""
        sizes = self._store.costs[list(chosen)]
        unit = self._mesh.unit.size
        divided = self._too_large(sizes) & (unit > 1)
        return assign(predicted_cost(sizes), divided, self._mesh.world.size, unit)

    def _tokens(
        self, chosen: Sequence[int], plan: Assignment, team: int, owners: dict[int, Integers]
    ) -> Tokens:
        """Of all ranks of unit ``team``; ``owners``: place of each atom of its divided frames."""
        unit = self._mesh.unit.size
        of_frames = [(chosen[graph], owner) for graph, owner in owners.items()]
        return count_tokens(
            [
                self._atoms(of_frames, [chosen[i] for i in plan.whole[team * unit + place]], place)
                for place in range(unit)
            ],
            self._layout(owners),
        )

    def _layout(self, owners: dict[int, Integers]) -> Layout:
        """Narrow rows know no ghosts, which divided frames have."""
        return self._store.by_width if owners else self._store.layout

    def _atoms(
        self, owners: Sequence[tuple[int, Integers]], whole: Sequence[int], place: int
    ) -> tuple[Integers, Integers]:
        """Neighbour counts and atomic numbers of a rank's atoms: of its parts of divided frames, then of ``whole``."""
        held = []
        for index, owner in owners:
            counts, numbers = self._store.atoms([index])
            held.append((counts[owner == place], numbers[owner == place]))
        held.append(self._store.atoms(whole))
        counts, numbers = map(np.concatenate, zip(*held, strict=True))
        return counts, numbers

    def _owners(self, index: int) -> Integers:
        """Place in the unit of each atom of a frame."""
        atoms, graph = self._store.frames[index].atoms, self._store.graph(index)
        edges = np.diff(graph.offsets)
        cost = predicted_cost(np.stack([np.ones_like(edges), edges, graph.num_line**2], axis=1))
        return bisect(atoms.get_positions(wrap=True), cost, self._mesh.unit.size)


def _targets_of_part(whole: Targets, part: Part, speaks: bool) -> Targets:
    """Labels of a part's atoms; those of the structure count on the one rank that ``speaks`` for it."""
    atoms = torch.from_numpy(part.atoms)
    per_atom = {
        name: getattr(whole, name)[atoms]
        for name in ("forces", "magmoms", "has_forces", "has_magmoms")
    }
    return replace(
        whole,
        has_energy=whole.has_energy & speaks,
        has_stress=whole.has_stress & speaks,
        **per_atom,
    )


def _joined(targets: Sequence[Targets]) -> Targets:
    """Labels of several shares put side by side."""
    return Targets(
        **{f.name: torch.cat([getattr(t, f.name) for t in targets]) for f in fields(Targets)}
    )
