"""What a rank of a unit holds, and which graphs a unit divides."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.data import chemical_symbols
from parallel_support.gradients import shares_of, store_of, validated

from janus_md.io import Frame
from janus_md.model import MatRISMoE, preset
from janus_training.config import ParallelConfig
from janus_training.graph_store import GraphStore
from janus_training.memory import training_bytes
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Group, Mesh
from janus_training.parallel.processes import on_ranks
from janus_training.parallel.share import Shares


def of_four(place: int) -> Mesh:
    """The mesh of one rank of four, without the others."""
    return Mesh(Group(4, place), Group(4, place), Group())


@pytest.mark.parametrize(
    ("name", "share"),
    [("small", 0.265), ("10m", 0.265), ("moe-s", 0.251), ("moe-m", 0.251), ("moe-l", 0.251)],
)
def test_a_rank_of_four_holds_little_more_than_a_quarter_of_the_weights(
    name: str, share: float
) -> None:
    """And so of gradients and moments; all ranks together hold each block's weights once."""
    held = []
    for place in range(4):
        with torch.device("meta"):
            model = MatRISMoE(preset(name, elements=chemical_symbols[1:90], tasks=["a"]))
        whole = sum(p.numel() for p in model.parameters())
        janus = Janus(model, of_four(place), ParallelConfig(unit=4))
        held.append(sum(p.numel() for p in janus.sharded))
        everywhere = sum(p.numel() for p in janus.everywhere)
        assert held[-1] + everywhere <= share * whole
    assert sum(held) + everywhere == whole


def test_a_rank_validates_as_much_at_a_time_as_it_trains_on() -> None:
    """Its part of the budget; and what the ranks tell each other are predictions, not the frames they all have."""
    assert on_ranks(2, validated, 4) == [([2], True), ([2], True)]


@pytest.mark.parametrize("place", range(4))
def test_a_divided_frame_may_be_taken_twice(place: int) -> None:
    """Its atoms count twice where ranks tell each other how many they have, too."""
    share = shares_of(store_of({}), of_four(place), divide=True)([0, 1, 0, 3])
    assert share.halo is not None and share.halo.graphs == 3
    assert share.tokens.atoms.sum(axis=(1, 2))[place] == len(share.batch.targets.forces)


def test_only_graphs_beyond_the_budget_are_divided() -> None:
    """The large crystal needs more than a rank has; its four parts do not, and small graphs stay whole."""
    frames = []
    for repeat in (1, 3):
        atoms = bulk("Si", cubic=True) * repeat
        atoms.rattle(0.05, seed=repeat)
        frames.append(Frame(atoms, -1.0, np.zeros((len(atoms), 3)), None, task="a"))
    store = GraphStore(frames, ["a"], 5.0, 3.0, 1.0)
    config = preset("tiny", elements=["Si"], tasks=["a"], cutoff=5.0, line_cutoff=3.0)
    budget = 0.5e-9 * training_bytes(MatRISMoE(config), int(store.costs[1, 1]))
    for place in range(4):
        janus = Janus(MatRISMoE(config), of_four(place), ParallelConfig(unit=4), budget)
        shares = Shares(store, janus.mesh, janus.too_large)
        assert shares([0]).halo is None
        share = shares([0, 1])
        assert share.halo is not None and share.halo.graphs == 1
        slots = sum(table.numel() for table in share.batch.graphs.neighbours)
        assert training_bytes(janus.model, slots) < budget * 1e9
