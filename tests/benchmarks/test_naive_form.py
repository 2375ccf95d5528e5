"""The model written down plainly, with flat lists and masks, has the same energies and gradients: an oracle."""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import pytest
import torch
from ase.build import bulk

from janus_md.graph import batch_graphs, build_graph
from janus_md.model import MatRISMoE, predict, preset

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "speed"))

from naive import energy_and_gradient, flat_graph


def structures() -> list[ase.Atoms]:
    crystal = bulk("NaCl", "rocksalt", a=5.3, cubic=True)
    crystal.rattle(0.2, seed=0)
    return [crystal, ase.Atoms("ClNaCl", [[0, 0, 0], [2.2, 0.1, 0], [3.0, 2.0, 0.2]])]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_message_experts": 0, "num_feature_experts": 0},
        {},
        {"num_message_experts": 0, "num_shared_experts": 0},
        {"num_shared_experts": 0},
        {"line_blocks": 1},
    ],
    ids=["dense", "moe", "moe-dense-messages", "moe-no-shared", "one-line-block"],
)
def test_same_energy_and_forces(settings: dict[str, int]):
    torch.manual_seed(0)
    model = MatRISMoE(preset("tiny", elements=["Na", "Cl"], **settings)).double()
    model.set_statistics({("default", "Na"): -1.0}, 2.0, 20.0, 8.0)
    config = model.config
    batch = batch_graphs(
        [build_graph(atoms, config.cutoff, config.line_cutoff) for atoms in structures()]
    )
    expected = predict(model, batch)
    graph = flat_graph(model, structures())
    energy, gradient = energy_and_gradient(model, graph, training=False)
    forces = torch.zeros(len(graph.species), 3, dtype=torch.float64)
    forces = forces.index_add(0, graph.centre, gradient).index_add(0, graph.neighbour, -gradient)
    torch.testing.assert_close(energy, expected.energy.sum(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(forces, expected.forces, rtol=1e-10, atol=1e-11)
