"""Molecular dynamics through ASE: NVE, NVT (stochastic velocity rescaling), NPT (MTK barostat)."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet

from janus_md.errors import UserError

ENSEMBLES = ("nve", "nvt", "npt")


def start_velocities(atoms: Atoms, temperature: float, seed: int) -> None:
    """Draw Maxwell-Boltzmann velocities (K) without drift; atoms that already move are kept."""
    if np.any(atoms.get_momenta()):
        return
    generator = np.random.default_rng(seed)
    widths = np.sqrt(atoms.get_masses() * units.kB * temperature)
    atoms.set_momenta(generator.standard_normal((len(atoms), 3)) * widths[:, None])
    Stationary(atoms)


def integrator(
    atoms: Atoms,
    ensemble: str,
    timestep: float,
    temperature: float,
    pressure: float = 0.0,
    seed: int = 0,
) -> Any:
    """ASE's integrator for an ensemble.

    ``timestep`` in fs, ``temperature`` in K, ``pressure`` in GPa. NVT is Bussi's thermostat with a
    time constant of 100 steps; NPT is the isotropic Martyna-Tobias-Klein barostat with 100 and
    1000 steps. Raises ``UserError`` for NPT without three periodic directions.
    """
    step = timestep * units.fs
    if ensemble == "nve":
        return VelocityVerlet(atoms, timestep=step)
    if ensemble == "nvt":
        generator = np.random.default_rng(seed + 1)
        return Bussi(atoms, step, temperature_K=temperature, taut=100 * step, rng=generator)
    if not atoms.pbc.all():
        raise UserError(
            f"NPT of {atoms.get_chemical_formula()} needs three periodic directions:"
            " choose --ensemble nvt, or set pbc"
        )
    return IsotropicMTKNPT(
        atoms,
        step,
        temperature_K=temperature,
        pressure_au=pressure * units.GPa,
        tdamp=100 * step,
        pdamp=1000 * step,
    )
