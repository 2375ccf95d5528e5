"""Molecular dynamics through ASE: NVE, NVT (stochastic velocity rescaling), NPT (MTK barostat).

The forces of a potential add up to zero, so that atoms set off without drift never drift: N atoms
have 3N - 3 degrees of freedom, over which the temperature is counted here, as in LAMMPS. Where
atoms are fixed they push back, a drift comes and goes, and the degrees of freedom are those left free.
Fixed bonds and springs between atoms push nothing but each other, and leave the drift out as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms, units
from ase.constraints import FixBondLengths, FixInternals, FixLinearTriatomic, Hookean
from ase.md.bussi import Bussi
from ase.md.nose_hoover_chain import (
    IsotropicMTKBarostat,
    IsotropicMTKNPT,
    NoseHooverChainThermostat,
)
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet

from janus_md.errors import UserError, nearest

ENSEMBLES = ("nve", "nvt", "npt")

AT_REST = 1e-9
"""eV; a smaller kinetic energy is a zero that was rounded."""


def degrees_of_freedom(atoms: Atoms) -> int:
    """Those that share the kinetic energy: without the drift, or without what is fixed."""
    drift = 3 if conserves_momentum(atoms) else 0
    return int(atoms.get_number_of_degrees_of_freedom()) - drift


def conserves_momentum(atoms: Atoms) -> bool:
    """Whether constraints, if there are any, only hold atoms of theirs to each other."""
    return all(
        isinstance(constraint, FixBondLengths | FixLinearTriatomic | FixInternals)
        or (isinstance(constraint, Hookean) and constraint._type == "two atoms")
        for constraint in atoms.constraints
    )


def kinetic_temperature(atoms: Atoms) -> float:
    """K, over ``degrees_of_freedom``."""
    return float(2 * atoms.get_kinetic_energy() / (degrees_of_freedom(atoms) * units.kB))


def start_velocities(atoms: Atoms, temperature: float, seed: int) -> None:
    """Draw Maxwell-Boltzmann velocities, scaled to a kinetic temperature of exactly ``temperature`` (K).

    Atoms that already move keep their velocities, but for the drift. Raises ``UserError`` where
    nothing can move but as a whole.
    """
    if degrees_of_freedom(atoms) < 1:
        raise UserError(
            f"{atoms.get_chemical_formula()} has no degree of freedom but its drift:"
            " give a larger cell, or fix fewer atoms"
        )
    _stop_drift(atoms)
    if atoms.get_kinetic_energy() > AT_REST:
        return
    generator = np.random.default_rng(seed)
    widths = np.sqrt(atoms.get_masses())  # of 1 eV, so that 0 K is no exception
    atoms.set_momenta(generator.standard_normal((len(atoms), 3)) * widths[:, None])
    _stop_drift(atoms)
    scale = np.sqrt(temperature / kinetic_temperature(atoms))
    atoms.set_momenta(scale * atoms.get_momenta())


def integrator(
    atoms: Atoms,
    ensemble: str,
    timestep: float,
    temperature: float,
    pressure: float = 0.0,
    seed: int = 0,
) -> Any:
    """ASE's integrator for an ensemble; the atoms have velocities already.

    ``timestep`` in fs, ``temperature`` in K, ``pressure`` in GPa. NVT is Bussi's thermostat with a
    time constant of 100 steps; NPT is the isotropic Martyna-Tobias-Klein barostat with 100 and
    1000 steps. Raises ``UserError`` for an ensemble that is none of ``ENSEMBLES``, a thermostat at 0 K,
    and for NPT of fixed atoms or without three periodic directions.
    """
    if ensemble not in ENSEMBLES:
        raise UserError(
            f"ensemble {ensemble!r} is unknown{nearest(ensemble, ENSEMBLES)}: give {', '.join(ENSEMBLES)}"
        )
    step = timestep * units.fs
    if ensemble == "nve":
        return VelocityVerlet(atoms, timestep=step)
    if not temperature > 0:
        raise UserError(
            f"a thermostat cannot hold {temperature:g} K: give a --temperature above 0, or --ensemble nve"
        )
    if ensemble == "nvt":
        return _nvt(atoms, step, temperature, seed)
    if not atoms.pbc.all():
        raise UserError(
            f"NPT of {atoms.get_chemical_formula()} needs three periodic directions:"
            " choose --ensemble nvt, or set pbc"
        )
    if atoms.constraints:
        raise UserError(
            f"NPT of {atoms.get_chemical_formula()} cannot keep atoms fixed (selective dynamics):"
            " choose --ensemble nvt, or free them"
        )
    return _npt(atoms, step, temperature, pressure * units.GPa)


def _stop_drift(atoms: Atoms) -> None:
    if conserves_momentum(atoms):
        Stationary(atoms, preserve_temperature=False)


def _nvt(atoms: Atoms, step: float, temperature: float, seed: int) -> Bussi:
    generator = np.random.default_rng(seed + 1)
    dynamics = Bussi(atoms, step, temperature_K=temperature, taut=100 * step, rng=generator)
    # ASE counts the drift among the degrees of freedom, which would get its energy too.
    dynamics.ndof = degrees_of_freedom(atoms)
    dynamics.target_kinetic_energy = 0.5 * dynamics.ndof * units.kB * temperature
    return dynamics


def _npt(atoms: Atoms, step: float, temperature: float, pressure: float) -> IsotropicMTKNPT:
    times = {"tdamp": 100 * step, "pdamp": 1000 * step}
    dynamics = IsotropicMTKNPT(
        atoms, step, temperature_K=temperature, pressure_au=pressure, **times
    )
    # ASE counts 3 degrees of freedom per atom; without drift there are as many as N - 1 atoms have.
    moving = len(atoms) - 1
    dynamics._num_atoms_global = moving
    dynamics._thermostat = NoseHooverChainThermostat(
        moving, dynamics.masses, temperature, times["tdamp"]
    )
    dynamics._barostat = IsotropicMTKBarostat(moving, temperature, times["pdamp"])
    return dynamics
