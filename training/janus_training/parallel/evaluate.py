"""Predictions for labelled frames by all ranks together."""

from __future__ import annotations

from janus_training.batches import GraphStore
from janus_training.config import BatchConfig
from janus_training.evaluate import Result, batches_within, results_of, with_volumes
from janus_training.parallel.janus import Janus
from janus_training.parallel.tokens import count_tokens


def predict_shared(janus: Janus, store: GraphStore, budget: BatchConfig) -> list[Result]:
    """Predictions for all frames of ``store``, in order, on every rank.

    Ranks take batches in turn and all take equally many, the last ones perhaps empty: where weights are shared, each
    prediction needs everybody.
    """
    mesh, batches = janus.mesh, [batch.tolist() for batch in batches_within(store, budget)]
    rounds = -(-len(batches) // mesh.world.size)
    batches += [[]] * (rounds * mesh.world.size - len(batches))
    found: list[tuple[int, Result]] = []
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
        found += zip(batches[place], results_of(prediction, frames), strict=True)
    everyones = [entry for part in mesh.everyone(found) for entry in part]
    return [result for _, result in sorted(everyones, key=lambda entry: entry[0])]
