"""Molecular dynamics through ASE at the temperature asked for, counted without the drift."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.idealgas import IdealGas
from ase.constraints import FixAtoms, FixBondLengths, FixConstraint, Hookean

from janus_md.calculators.dynamics import integrator, kinetic_temperature, start_velocities
from janus_md.errors import UserError


def copper(repeats: tuple[int, int, int]) -> Atoms:
    atoms = bulk("Cu") * repeats
    atoms.calc = EMT()
    return atoms


def test_starting_velocities_have_the_temperature_and_no_drift() -> None:
    atoms = copper((2, 2, 2))
    start_velocities(atoms, 300.0, seed=0)
    expected = 0.5 * (3 * 8 - 3) * units.kB * 300.0
    assert atoms.get_kinetic_energy() == pytest.approx(expected)
    assert kinetic_temperature(atoms) == pytest.approx(300.0)
    assert atoms.get_momenta().sum(axis=0) == pytest.approx(0.0, abs=1e-12)
    other = copper((2, 2, 2))
    start_velocities(other, 300.0, seed=1)
    assert np.abs(other.get_momenta() - atoms.get_momenta()).max() > 0.1


def test_at_0_K_nothing_moves() -> None:
    atoms = copper((2, 2, 2))
    start_velocities(atoms, 0.0, seed=0)
    assert not atoms.get_momenta().any()


def test_given_velocities_are_kept_but_for_their_drift() -> None:
    atoms = copper((2, 1, 1))
    atoms.set_velocities([[1.0, 0.0, 0.0], [3.0, 0.0, 0.5]])
    start_velocities(atoms, 300.0, seed=0)
    assert atoms.get_velocities() == pytest.approx(np.array([[-1, 0, -0.25], [1, 0, 0.25]]))


def test_velocities_that_are_drift_alone_are_drawn() -> None:
    atoms = copper((2, 1, 1))
    atoms.set_velocities([[1.0, 0.1, 0.3]] * 2)
    start_velocities(atoms, 300.0, seed=0)
    assert kinetic_temperature(atoms) == pytest.approx(300.0)


def test_fixed_atoms_stay_and_take_no_share() -> None:
    atoms = copper((2, 2, 2))
    atoms.set_constraint(FixAtoms([0, 1]))
    start_velocities(atoms, 300.0, seed=0)
    assert not atoms.get_momenta()[:2].any()
    assert atoms.get_kinetic_energy() == pytest.approx(0.5 * 3 * 6 * units.kB * 300.0)
    before = atoms.positions[:2].copy()
    integrator(atoms, "nvt", 2.0, 300.0).run(20)
    assert (atoms.positions[:2] == before).all()


@pytest.mark.parametrize(
    ("constraint", "removed"),
    [(FixBondLengths([[0, 1]]), 1), (Hookean(0, 1, k=1.0, rt=2.0), 0)],
    ids=["bond", "spring"],
)
def test_what_holds_atoms_to_each_other_leaves_no_drift(
    constraint: FixConstraint, removed: int
) -> None:
    """It counted as pinned to a place: the drift stayed, and took its share of the temperature."""
    atoms = copper((2, 2, 2))
    atoms.set_constraint(constraint)
    start_velocities(atoms, 300.0, seed=0)
    assert atoms.get_momenta().sum(axis=0) == pytest.approx(0.0, abs=1e-12)
    degrees = 3 * 8 - 3 - removed
    assert atoms.get_kinetic_energy() == pytest.approx(0.5 * degrees * units.kB * 300.0)
    integrator(atoms, "nvt", 2.0, 300.0).run(10)
    assert atoms.get_momenta().sum(axis=0) == pytest.approx(0.0, abs=1e-8)


def test_a_spring_to_a_place_pins() -> None:
    atoms = copper((2, 2, 2))
    atoms.set_constraint(Hookean(0, (0.0, 0.0, 0.0), k=1.0, rt=0.5))
    start_velocities(atoms, 300.0, seed=0)
    assert atoms.get_kinetic_energy() == pytest.approx(0.5 * 3 * 8 * units.kB * 300.0)


def test_nvt_of_a_small_cell_has_the_temperature() -> None:
    """ASE gives N atoms without drift the kinetic energy of 3N degrees of freedom: two are twice too hot."""
    atoms = bulk("Cu") * (2, 1, 1)
    atoms.calc = IdealGas()
    start_velocities(atoms, 300.0, seed=0)
    dynamics = integrator(atoms, "nvt", 1.0, 300.0, seed=0)
    temperatures: list[float] = []
    dynamics.attach(lambda: temperatures.append(kinetic_temperature(atoms)))
    dynamics.run(10_000)
    # The thermostat's memory is 100 steps: the mean is good to 35 K.
    assert np.mean(temperatures) == pytest.approx(300.0, abs=150.0)


def test_npt_leaves_an_ideal_gas_that_is_in_equilibrium() -> None:
    """At V = N k T / p neither thermostat nor barostat has anything to do, if they count 3N - 3."""
    atoms = bulk("Cu") * (2, 2, 2)
    atoms.calc = IdealGas()
    volume = atoms.get_volume()
    start_velocities(atoms, 300.0, seed=0)
    pressure = len(atoms) * units.kB * 300.0 / volume / units.GPa
    integrator(atoms, "npt", 2.0, 300.0, pressure).run(200)
    assert kinetic_temperature(atoms) == pytest.approx(300.0, rel=1e-6)
    assert atoms.get_volume() == pytest.approx(volume, rel=1e-6)


def test_npt_reaches_the_temperature_from_another() -> None:
    atoms = copper((2, 2, 2))
    start_velocities(atoms, 900.0, seed=0)
    temperatures: list[float] = []
    dynamics = integrator(atoms, "npt", 4.0, 300.0)
    dynamics.attach(lambda: temperatures.append(kinetic_temperature(atoms)))
    dynamics.run(1000)
    assert np.mean(temperatures[500:]) == pytest.approx(300.0, abs=100.0)


@pytest.mark.parametrize("name", ["NVT", "langevin", ""])
def test_an_unknown_ensemble_is_no_npt(name: str) -> None:
    """It was, and the cell changed."""
    with pytest.raises(UserError, match=rf"ensemble '{name}' is unknown.*: give nve, nvt, npt"):
        integrator(copper((2, 2, 2)), name, 1.0, 300.0)
