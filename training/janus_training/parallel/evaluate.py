"""Predictions for labelled frames by all ranks together."""

from __future__ import annotations

from janus_training.config import BatchConfig
from janus_training.evaluate import Floats, Result, batches_within, results_of, with_volumes
from janus_training.graph_store import GraphStore
from janus_training.parallel.janus import Janus
from janus_training.parallel.tokens import count_tokens
from janus_training.sampler import RESOURCES

Values = tuple[float, Floats, Floats | None, Floats | None]
"""Energy, forces, stress and magnetic moments of a :class:`Result`."""


def predict_shared(janus: Janus, store: GraphStore, budget: BatchConfig) -> list[Result]:
    """Predictions for all frames of ``store``, in order, on every rank.

    ``budget`` is that of all ranks together, as in training. They take batches in turn and all take equally many, the
    last ones perhaps empty: where weights are shared, each prediction needs everybody.
    """
    mesh = janus.mesh
    part = _part(budget, mesh.world.size)
    batches = [batch.tolist() for batch in batches_within(store, part)]
    rounds = -(-len(batches) // mesh.world.size)
    batches += [[]] * (rounds * mesh.world.size - len(batches))
    found: list[tuple[int, Values]] = []
    for first in range(0, len(batches), mesh.world.size):
        place = first + mesh.world.place
        unit = place - mesh.unit.place
        members = [store.atoms(b) for b in batches[unit : unit + mesh.unit.size]]
        tokens = count_tokens(members, store.layout)
        batch = store.batch(batches[place], tokens.filled_up(store.layout)).to(janus.device)
        stress = mesh.any(batch.members["stress"] > 0)
        graphs = with_volumes(batch.graphs) if stress else batch.graphs
        prediction = janus.predict_whole(graphs, tokens, stress)
        frames = [store.frames[index] for index in batches[place]]
        results = results_of(prediction, frames)
        found += [
            (index, (r.energy, r.forces, r.stress, r.magmoms))
            for index, r in zip(batches[place], results, strict=True)
        ]
    # Frames stay at home: each rank has them all.
    everyones = dict(entry for of_rank in mesh.everyone(found) for entry in of_rank)
    return [Result(store.frames[index], *everyones[index]) for index in range(len(store))]


def _part(budget: BatchConfig, ranks: int) -> BatchConfig:
    """What each of so many ranks has of a batch."""
    limits = {name: getattr(budget, name) for name in RESOURCES}
    given = {name: max(1, limit // ranks) for name, limit in limits.items() if limit is not None}
    return BatchConfig(**given)
