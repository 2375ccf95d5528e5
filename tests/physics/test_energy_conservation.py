"""NVE with a float32 model on float64 geometry: drift below 1 µeV/atom/ps.

``benchmarks/lammps/conservation.py`` measures 20 ps with a model trained on real data.
"""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

from janus_md import JanusCalculator
from janus_md.export import export_model


@pytest.mark.slow
def test_no_drift_over_five_picoseconds(trained_models, tmp_path) -> None:
    path = tmp_path / "model.janus.pt"
    export_model(trained_models["trained-moe"], path, ["Na", "Cl"], precision="single")
    atoms = bulk("NaCl", "rocksalt", a=5.5, cubic=True)
    atoms.calc = JanusCalculator(path)
    rng = np.random.default_rng(0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=rng)
    Stationary(atoms)
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    times, energies = [], []

    def record() -> None:
        times.append(dynamics.nsteps * 0.5e-3)
        energies.append(atoms.get_total_energy() / len(atoms))

    dynamics.attach(record, interval=20)
    dynamics.run(10_000)
    drift = np.polyfit(times, energies, 1)[0]
    assert abs(drift) < 1e-6
