"""Models that every physics test runs on: dense and with experts, with angles and without, random and trained."""

from __future__ import annotations

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones

from janus_md.graph import batch_graphs, build_graph
from janus_md.model import MatRISMoE, predict, preset

ELEMENTS = ["O", "Na", "Si", "Cl"]
DENSE = {"num_message_experts": 0, "num_feature_experts": 0}
LEAN = {**DENSE, "line_blocks": 0}
"""The parts of the preset ``lean``, with which the recipes train."""
VARIANTS = {
    "dense": DENSE,
    "lean": LEAN,
    "moe": {},
    "moe-no-angles": {"line_blocks": 0, "num_reduced": 0},
    "moe-dense-messages": {"num_message_experts": 0, "num_shared_experts": 0},
    "moe-no-shared": {"num_shared_experts": 0},
    "moe-charge-spin": {"charge": True, "spin": True, "magmoms": True},
}


def random_model(seed: int = 0, **overrides: object) -> MatRISMoE:
    torch.manual_seed(seed)
    model = MatRISMoE(preset("tiny", elements=ELEMENTS, **overrides)).double()
    model.set_statistics({("default", "Na"): -1.5, ("default", "Cl"): -3.25}, 1.0, 30.0, 15.0)
    return model


def labelled_frames() -> list[tuple[ase.Atoms, float, np.ndarray]]:
    """Small rattled crystals and clusters with Lennard-Jones labels."""
    frames = []
    for seed in range(6):
        crystal = bulk("NaCl", "rocksalt", a=5.4 + 0.05 * seed)
        crystal = crystal.repeat((2, 1, 1)) if seed % 2 else crystal
        crystal.rattle(0.15, seed=seed)
        cluster = ase.Atoms("SiO2", [[0, 0, 0], [2.6, 0.2, 0], [-1.4, 2.2, 0.3]])
        cluster.rattle(0.2, seed=seed)
        for atoms in (crystal, cluster):
            atoms.calc = LennardJones(sigma=2.4, epsilon=0.3, rc=5.5, smooth=True)
            frames.append((atoms, atoms.get_potential_energy(), atoms.get_forces()))
    return frames


def train_briefly(model: MatRISMoE, steps: int = 60) -> MatRISMoE:
    frames = labelled_frames()
    config = model.config
    batch = batch_graphs([build_graph(a, config.cutoff, config.line_cutoff) for a, _, _ in frames])
    energy = torch.tensor([e for _, e, _ in frames])
    forces = torch.from_numpy(np.concatenate([f for _, _, f in frames]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        found = predict(model, batch, training=True)
        loss = ((found.forces - forces) ** 2).mean() + 0.1 * ((found.energy - energy) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    return model


@pytest.fixture(scope="session")
def trained_models() -> dict[str, MatRISMoE]:
    return {
        "trained-dense": train_briefly(random_model(**DENSE)),
        "trained-lean": train_briefly(random_model(**LEAN)),
        "trained-moe": train_briefly(random_model()),
    }


@pytest.fixture(params=[*VARIANTS, "trained-dense", "trained-lean", "trained-moe"])
def model(request: pytest.FixtureRequest, trained_models: dict[str, MatRISMoE]) -> MatRISMoE:
    if request.param in trained_models:
        return trained_models[request.param]
    return random_model(**VARIANTS[request.param])


class Evaluate:
    """Energies, forces and stress of ASE atoms with a model, without a calculator in between."""

    def __init__(self, model: MatRISMoE) -> None:
        self.model = model

    def __call__(self, *structures: ase.Atoms, stress: bool = False):
        config = self.model.config
        graphs = [build_graph(atoms, config.cutoff, config.line_cutoff) for atoms in structures]
        charge = [atoms.info.get("charge", 0.0) for atoms in structures]
        spin = [atoms.info.get("spin", 0.0) for atoms in structures]
        return predict(self.model, batch_graphs(graphs, charge=charge, spin=spin), stress=stress)

    def energy(self, atoms: ase.Atoms) -> float:
        return float(self(atoms).energy[0])


@pytest.fixture
def evaluate(model: MatRISMoE) -> Evaluate:
    return Evaluate(model)


@pytest.fixture
def crystal() -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.rattle(0.2, seed=3)
    atoms.symbols[1] = "Si"
    return atoms


@pytest.fixture
def molecule() -> ase.Atoms:
    return ase.Atoms(
        "SiO2ClNa",
        [[0, 0, 0], [1.6, 0.3, 0.1], [-0.8, 1.5, 0.2], [0.3, -1.9, 1.0], [2.1, 2.5, -0.7]],
    )
