"""NVE at 300 K, 0.5 fs, a float32 model on float64 geometry: drift below 1 µeV/atom/ps.

The crystal is as small as a cubic cell allows, since a step costs the same for four atoms as for
fifty and 40,000 of them are wanted. Both cutoffs lie inside a shell of neighbours, so that edges and
angles come and go throughout. ``benchmarks/lammps/conservation.py`` measures models of real data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk
from ase.constraints import Hookean
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.neighborlist import neighbor_list
from training_support import metals

from janus_md import JanusCalculator
from janus_md.export import export_model
from janus_md.graph import batch_graphs, build_graph
from janus_md.model import MatRISMoE, predict, preset

TIMESTEP = 0.5e-3
"""ps"""

CUTOFF, LINE_CUTOFF = 4.5, 2.8
"""Å, amid the third and the first shell of the crystal."""

KINDS = {"dense": {"num_message_experts": 0, "num_feature_experts": 0}, "moe": {}}


def metal_model(kind: str, scale: float) -> MatRISMoE:
    torch.manual_seed(0)
    config = preset(
        "tiny", elements=["Cu", "Au"], cutoff=CUTOFF, line_cutoff=LINE_CUTOFF, **KINDS[kind]
    )
    model = MatRISMoE(config).double()
    model.set_statistics({}, scale, mean_neighbours=40.0, mean_line_neighbours=6.0)
    return model


def trained_model(kind: str, steps: int = 200) -> MatRISMoE:
    """Trained on EMT from dense to dilute: without the repulsion of short bonds atoms would meet."""
    model = metal_model(kind, 1.0)
    frames = metals(16, scale=(0.86, 1.1), rattle=0.2)
    batch = batch_graphs([build_graph(frame.atoms, CUTOFF, LINE_CUTOFF) for frame in frames])
    energy = torch.tensor([frame.energy for frame in frames])
    forces = torch.from_numpy(np.concatenate([frame.forces for frame in frames]))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    decay = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, steps)
    for _ in range(steps):
        found = predict(model, batch, training=True)
        loss = torch.nn.functional.huber_loss(found.forces, forces, delta=0.5)
        loss = loss + 0.1 * ((found.energy - energy) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        decay.step()
    error = (found.forces.detach() - forces).square().mean().sqrt()
    assert error < 0.2 * forces.square().mean().sqrt()
    return model


def crystal() -> ase.Atoms:
    atoms = bulk("Cu", cubic=True, a=3.75)
    atoms.symbols[0] = "Au"
    return atoms


@dataclass
class Course:
    """What was seen of a run every twenty steps."""

    drift: float
    """eV/atom/ps, of a straight line through the total energies."""
    temperature: float
    nearest: float
    """Å, the shortest distance of all."""
    neighbours: set[int]
    line_neighbours: set[int]
    """Numbers of pairs within each cutoff."""


def run_nve(model: MatRISMoE, atoms: ase.Atoms, kelvin: float, steps: int, path: Path) -> Course:
    export_model(model, path, precision="single")
    atoms.calc = JanusCalculator(path)
    thermalize_momenta(atoms, kelvin, rng=np.random.default_rng(0))
    Stationary(atoms, preserve_temperature=False)
    # Exactly this temperature, of the momenta that four atoms at rest as a whole can have.
    momenta = atoms.get_momenta()
    atoms.set_momenta(momenta * (kelvin / atoms.get_temperature()) ** 0.5)
    dynamics = VelocityVerlet(atoms, TIMESTEP * 1e3 * units.fs)
    times, energies, temperatures, distances, pairs = [], [], [], [], []

    def record() -> None:
        times.append(dynamics.nsteps * TIMESTEP)
        energies.append(atoms.get_total_energy() / len(atoms))
        temperatures.append(atoms.get_temperature())
        found = neighbor_list("d", atoms, CUTOFF)
        distances.append(float(found.min()))
        pairs.append((len(found), int((found < LINE_CUTOFF).sum())))

    dynamics.attach(record, interval=20)
    dynamics.run(steps)
    near, line = (set(counts) for counts in zip(*pairs, strict=True))
    drift = float(np.polyfit(times, energies, 1)[0])
    return Course(drift, float(np.mean(temperatures)), min(distances), near, line)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_trained_over_twenty_picoseconds(kind: str, tmp_path: Path) -> None:
    # Half of the kinetic energy goes into the bonds.
    course = run_nve(trained_model(kind), crystal(), 600.0, 40_000, tmp_path / "m.janus.pt")
    assert 200.0 < course.temperature < 400.0
    assert course.nearest > 2.0
    assert len(course.neighbours) > 5 and len(course.line_neighbours) > 5
    assert abs(course.drift) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_random_weights_over_two_picoseconds(kind: str, tmp_path: Path) -> None:
    """Random weights repel nothing, so springs keep the atoms apart.

    Shorter than with trained weights: only the arithmetic is left to test, which is the same in both.
    """
    atoms = crystal()
    atoms.set_constraint(
        [Hookean(i, tuple(at), k=2.0, rt=0.0) for i, at in enumerate(atoms.positions)]
    )
    atoms.rattle(0.05, seed=1)
    course = run_nve(metal_model(kind, 2.0), atoms, 400.0, 4_000, tmp_path / "m.janus.pt")
    of_the_model = atoms.get_forces(apply_constraint=False)
    assert np.sqrt(np.mean(of_the_model**2)) > 0.05
    assert 200.0 < course.temperature < 500.0
    assert len(course.neighbours) > 5 and len(course.line_neighbours) > 5
    assert abs(course.drift) < 1e-6
