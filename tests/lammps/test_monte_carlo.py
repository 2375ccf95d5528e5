"""Atoms that `fix gcmc` puts in, takes away and puts back."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest
from ase import units
from lammps_support.models import random_model
from lammps_support.runs import completed, in_ase, in_lammps, janus_pair, run_lammps, setup
from lammps_support.scenarios import thermo
from lammps_support.structures import crystal

from janus_md.export import export_model

ATOM = -3.0
"""eV, of an atom alone."""
KELVIN = 300.0


@pytest.fixture(scope="module")
def ideal_gas(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose atoms have an energy and do not interact."""
    model = random_model()
    references = {("default", element): ATOM for element in model.config.elements}
    model.set_statistics(references, 1.0, mean_neighbours=40.0, mean_line_neighbours=12.0)
    model.heads["energy"].scale.fill_(0.0)
    path = tmp_path_factory.mktemp("gas") / "gas.janus.pt"
    export_model(model, path, precision="double")
    return path


@pytest.mark.parametrize("ranks", [1, 2])
def test_excluded_atoms_do_not_exist(ranks: int, labelled_model: Path, tmp_path: Path) -> None:
    """They had the energy of atoms without neighbours, and counted for the composition."""
    atoms = crystal()
    commands = ["group gone id 2 7 8", "neigh_modify exclude group gone all", "run 0"]
    found = in_lammps(atoms, labelled_model, tmp_path, ranks, style="task pbe", commands=commands)
    left = np.ones(len(atoms), bool)
    left[[1, 6, 7]] = False
    expected = in_ase(atoms[left], labelled_model, "pbe").calc.results
    assert found.energy == pytest.approx(expected["energy"], abs=1e-8)
    np.testing.assert_allclose(found.forces[left], expected["forces"], rtol=0, atol=1e-9)
    assert not found.forces[~left].any()
    assert not found.energies[~left].any()


def chemical_potential(number: float, volume: float, mass: float) -> float:
    """eV, of an ideal gas with ``number`` atoms on average."""
    thermal = units._hplanck / np.sqrt(2 * np.pi * mass * units._amu * units._k * KELVIN)  # m
    return ATOM + units.kB * KELVIN * np.log(number * (thermal * 1e10) ** 3 / volume)


@pytest.mark.parametrize("ranks", [1, 2])
def test_as_many_atoms_as_in_an_ideal_gas(ranks: int, ideal_gas: Path, tmp_path: Path) -> None:
    """An atom taken away kept its own energy, so that hardly any stayed in."""
    atoms = ase.Atoms("H", cell=[12.0] * 3, pbc=True)
    mu = chemical_potential(6.0, atoms.get_volume(), atoms.get_masses()[0])
    lines = [
        *setup(atoms, tmp_path, janus_pair(ideal_gas, ["H"])),
        f"fix exchange all gcmc 1 25 0 1 2911 {KELVIN} {mu:.6f} 0.0 overlap_cutoff 0.3",
        "thermo_style custom step atoms pe",
        "thermo_modify format float %.9g norm no",
        "thermo 1",
        "run 40",
    ]
    rows = np.array(thermo(completed(lines, tmp_path, ranks)))[5:]
    np.testing.assert_allclose(rows[:, 2], ATOM * rows[:, 1], atol=1e-6)
    assert rows[:, 1].std() > 0.5
    assert rows[:, 1].mean() == pytest.approx(6.0, abs=2.0)


@pytest.mark.parametrize("ranks", [1, 2])
def test_insertion_on_top_of_an_atom(ranks: int, ideal_gas: Path, tmp_path: Path) -> None:
    """Fix gcmc tells overlaps apart before it asks for an energy, if it has an overlap_cutoff."""
    atoms = ase.Atoms("OH", [[3.0, 3.0, 3.0], [8.0, 8.0, 8.0]], cell=[12.0] * 3, pbc=True)
    insert = "fix exchange gas gcmc 1 10 0 1 2911 300 -3.3 0.0 region here"
    lines = [
        *setup(atoms, tmp_path, janus_pair(ideal_gas, ["H", "O"])),
        "group gas type 1",
        "region here sphere 3 3 3 0.1",
        insert,
    ]
    done = run_lammps([*lines, "run 3"], tmp_path, ranks)
    assert done.returncode != 0
    assert "on top of each other" in done.stdout
    assert "give fix gcmc an overlap_cutoff" in done.stdout
    lines[-1] += " overlap_cutoff 0.5"
    assert "2 atoms" in completed([*lines, "run 3"], tmp_path, ranks)
