"""Stores of graphs whose costs the ranks count together."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from ase.build import molecule

from janus_md.errors import UserError
from janus_md.io import Frame
from janus_training import graph_store
from janus_training.graph_store import GraphStore
from janus_training.parallel.mesh import make_mesh
from parallel_support.gradients import frames


def counted(number: int) -> dict[str, Any]:
    """What a rank of a mesh knows of the first ``number`` frames, and how many graphs it built for it."""
    with patch.object(graph_store, "build_graph", wraps=graph_store.build_graph) as built:
        store = GraphStore(frames()[:number], ["a"], 4.0, 3.0, 1.0, make_mesh(1))
    return {"built": built.call_count} | facts(store)


def facts(store: GraphStore) -> dict[str, Any]:
    return {
        "costs": store.costs.tolist(),
        "neighbours": [counts.tolist() for counts in store.neighbour_counts],
        "line_edges": store.line_edges,
        "edges": [store.graph(index).num_edges for index in range(len(store))],
    }


def fault_of_a_frame(place: int) -> str:
    """What a rank says where the atoms of frame ``place`` are one on the other."""
    found = [Frame(molecule("H2"), task="a", index=index) for index in range(4)]
    found[place].atoms.positions[:] = 0.0
    try:
        GraphStore(found, ["a"], 4.0, 3.0, 1.0, make_mesh(1))
    except UserError as error:
        return str(error)
    return ""
