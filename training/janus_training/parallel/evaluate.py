"""Predictions for labelled frames by all ranks together."""

from __future__ import annotations

from janus_training.batches import GraphStore
from janus_training.config import BatchConfig
from janus_training.evaluate import Result, batches_within, results_of, with_volumes
from janus_training.parallel.janus import Janus


def predict_shared(janus: Janus, store: GraphStore, budget: BatchConfig) -> list[Result]:
    """Predictions for all frames of ``store``, in order, on every rank.

    Ranks take batches in turn and all take equally many, the last ones perhaps empty: where weights are shared, each
    prediction needs everybody.
    """
    mesh = janus.mesh
    batches = batches_within(store, budget)
    rounds = -(-len(batches) // mesh.world.size)
    found: list[tuple[int, Result]] = []
    for number in range(rounds):
        place = number * mesh.world.size + mesh.world.place
        indices = batches[place].tolist() if place < len(batches) else []
        batch = store.batch(indices).to(janus.device)
        stress = mesh.any(batch.members["stress"] > 0)
        graphs = with_volumes(batch.graphs) if stress else batch.graphs
        prediction = janus.predict_whole(graphs, stress)
        found += zip(
            indices, results_of(prediction, [store.frames[i] for i in indices]), strict=True
        )
    everyones = [entry for part in mesh.everyone(found) for entry in part]
    return [result for _, result in sorted(everyones, key=lambda entry: entry[0])]
