"""Several models after one `pair_coeff`: the first moves the atoms, and all their deviations are ASE's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.data import atomic_numbers
from lammps_support.models import random_model
from lammps_support.runs import completed, in_ase, run_lammps, setup
from lammps_support.scenarios import NVE, column, read_dump, thermo
from lammps_support.structures import crystal, pair_of_clusters

from janus_md.export import export_model

REPORT = [
    "compute deviation all pair janus",
    "fix deviation all pair 2 janus force_deviation 1 energy_deviation 1",
    "thermo_style custom step pe c_deviation[1] c_deviation[2] c_deviation[3]",
    "thermo_modify format float %.17g norm no",
    "thermo 2",
    "dump results all custom 2 deviations.*.dump id type x y z fx fy fz f_deviation[*]",
    "dump_modify results sort id format float %.17g",
]


def ensemble_pair(models: Sequence[Path], types: Sequence[str]) -> list[str]:
    return ["pair_style janus", f"pair_coeff * * {' '.join(map(str, models))} {' '.join(types)}"]


def deviations(atoms: ase.Atoms, models: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, float]:
    """Of the forces and energies of each atom and of the energy per atom, by ASE."""
    results = [in_ase(atoms, model).calc.results for model in models]
    forces = np.array([result["forces"] for result in results])
    spread = np.sqrt(((forces - forces.mean(0)) ** 2).sum(-1).mean(0))
    energies = np.array([result["energies"] for result in results])
    totals = np.array([result["energy"] for result in results])
    return spread, energies.std(0), totals.std() / len(atoms)


@pytest.mark.parametrize("ranks", [1, 2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("structure", [crystal, pair_of_clusters])
def test_deviations(structure, ranks: int, ensemble: list[Path], tmp_path: Path) -> None:
    atoms = structure()
    types = sorted(set(atoms.symbols))
    lines = setup(atoms, tmp_path, ensemble_pair(ensemble, types), types)
    log = completed([*lines, *NVE, *REPORT, "run 4"], tmp_path, ranks)
    for step, row in zip((0, 2, 4), thermo(log), strict=True):
        found = read_dump(tmp_path / f"deviations.{step}.dump", types)
        forces, energies, energy = deviations(found, ensemble)
        expected = in_ase(found, ensemble[0])
        np.testing.assert_allclose(found.get_forces(), expected.get_forces(), rtol=0, atol=1e-9)
        np.testing.assert_allclose(column(found, "f_deviation[1]"), forces, rtol=0, atol=1e-9)
        np.testing.assert_allclose(column(found, "f_deviation[2]"), energies, rtol=0, atol=1e-9)
        assert row[1] == pytest.approx(expected.get_potential_energy(), abs=1e-8)
        assert row[2:] == pytest.approx([forces.max(), forces.mean(), energy], abs=1e-9)
    assert forces.mean() > 0.01


# Thermo output and dumps ask LAMMPS for energies, and so for deviations. Here fix pair wants some in other steps.
BETWEEN = [line.replace("custom 2 deviations", "custom 5 late") for line in REPORT] + [
    "thermo 1000"
]


@pytest.mark.parametrize("ranks", [1, 2])
def test_in_steps_that_need_no_energy(ranks: int, ensemble: list[Path], tmp_path: Path) -> None:
    lines = [*setup(crystal(), tmp_path, ensemble_pair(ensemble, ["O", "Si"])), *NVE]
    completed([*lines, *REPORT, "run 4"], tmp_path, ranks)
    completed([*lines, *BETWEEN, "run 6"], tmp_path, ranks)
    expected = read_dump(tmp_path / "deviations.4.dump", ["O", "Si"])
    kept = read_dump(tmp_path / "late.5.dump", ["O", "Si"])
    for name in ("f_deviation[1]", "f_deviation[2]"):
        np.testing.assert_allclose(column(kept, name), column(expected, name), rtol=0, atol=1e-9)


def test_a_fix_that_asks_for_nothing_gets_no_old_values(
    ensemble: list[Path], tmp_path: Path
) -> None:
    lines = [*setup(crystal(), tmp_path, ensemble_pair(ensemble, ["O", "Si"])), *NVE]
    silent = [line.replace("_deviation 1", "_deviation 0") for line in BETWEEN]
    done = run_lammps([*lines, *silent, "run 6"], tmp_path, 2)
    assert done.returncode != 0
    assert "in step 2, in which the models were not compared" in done.stdout
    assert "write 'force_deviation 1' in fix pair" in done.stdout


def test_in_a_hybrid_style_and_for_part_of_the_atoms(ensemble: list[Path], tmp_path: Path) -> None:
    atoms = crystal()
    atoms.symbols[[3, 10]] = "Ar"
    pair = [
        "pair_style hybrid/overlay janus zbl 2.0 3.5",
        f"pair_coeff * * janus {' '.join(map(str, ensemble))} NULL O Si",
        "pair_coeff 1 * zbl 18 18",
    ]
    types = ["Ar", "O", "Si"]
    log = completed([*setup(atoms, tmp_path, pair, types), *REPORT, "run 0"], tmp_path, 2)
    seen = atoms.numbers != atomic_numbers["Ar"]
    forces, energies, energy = deviations(atoms[seen], ensemble)
    found = read_dump(tmp_path / "deviations.0.dump", types)
    np.testing.assert_allclose(column(found, "f_deviation[1]")[seen], forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(column(found, "f_deviation[2]")[seen], energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(column(found, "f_deviation[1]")[~seen], 0.0)
    assert thermo(log)[-1][2:] == pytest.approx([forces.max(), forces.mean(), energy], abs=1e-9)


def test_other_models_run_only_when_asked(ensemble: list[Path], tmp_path: Path) -> None:
    """Each evaluation sends the features of its model."""
    atoms = crystal()
    sent = []
    for models in (ensemble[:1], ensemble):
        pair = ensemble_pair(models, ["O", "Si"])
        pair[0] += " profile yes"
        lines = setup(atoms, tmp_path, pair)
        log = completed([*lines, *NVE, "thermo 1000", "run 20"], tmp_path, 2)
        sent.append(float(re.search(r"bytes sent \| +(\d+)", log)[1]))
    assert sent[0] < sent[1] < 1.5 * sent[0]


def test_a_model_that_lacks_an_element_is_named(ensemble: list[Path], tmp_path: Path) -> None:
    export_model(random_model(elements=["Na", "Cl"]), tmp_path / "salt.janus.pt")
    pair = ensemble_pair([ensemble[0], Path("salt.janus.pt")], ["O", "Si"])
    done = run_lammps([*setup(crystal(), tmp_path, pair), "run 0"], tmp_path, 2)
    assert "salt.janus.pt does not know the element O of atom type 1" in done.stdout
