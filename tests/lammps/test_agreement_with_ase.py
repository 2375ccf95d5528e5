"""The same energies, forces, stresses and per-atom values as the ASE calculator, on any number of ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.data import atomic_numbers
from lammps_support.runs import (
    assert_agrees,
    in_ase,
    in_lammps,
    janus_pair,
    peak_memory,
    reported,
    setup,
)
from lammps_support.scenarios import RANKS
from lammps_support.structures import crystal, ethanol, pair_of_clusters, salt, slab, tilted

from janus_md.model import preset


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("structure", [crystal, salt, tilted, slab, ethanol])
def test_double_precision(structure, ranks: int, models: Path, tmp_path: Path) -> None:
    atoms = structure()
    found = in_lammps(atoms, models / "double.janus.pt", tmp_path, ranks)
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))


def test_a_model_without_routing(dense_model: Path, tmp_path: Path) -> None:
    atoms = salt()
    assert_agrees(in_lammps(atoms, dense_model, tmp_path, 2), in_ase(atoms, dense_model))


@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize("structure", [crystal, slab])
def test_single_precision(structure, ranks: int, models: Path, tmp_path: Path) -> None:
    atoms = structure()
    found = in_lammps(atoms, models / "single.janus.pt", tmp_path, ranks)
    assert "single precision" in found.log
    assert_agrees(found, in_ase(atoms, models / "single.janus.pt"), "single")


def test_precision_is_chosen_in_the_input(models: Path, tmp_path: Path) -> None:
    atoms = crystal()
    exact = in_ase(atoms, models / "double.janus.pt")
    rounded = in_lammps(
        atoms, models / "double.janus.pt", tmp_path / "a", 2, style="precision single"
    )
    assert_agrees(rounded, exact, "single")
    assert rounded.energy != exact.get_potential_energy()
    widened = in_lammps(
        atoms, models / "single.janus.pt", tmp_path / "b", 2, style="precision double"
    )
    assert_agrees(widened, exact, "single")


@pytest.mark.parametrize("ranks", [1, 2])
def test_shrink_wrapped(ranks: int, models: Path, tmp_path: Path) -> None:
    atoms = slab()
    found = in_lammps(atoms, models / "double.janus.pt", tmp_path, ranks, boundary="p p s")
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))


def test_rank_without_atoms(models: Path, tmp_path: Path) -> None:
    atoms = pair_of_clusters()
    found = in_lammps(atoms, models / "double.janus.pt", tmp_path, 4, before=["processors 4 1 1"])
    assert "Nlocal:            1.5 ave           3 max           0 min" in found.log
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))


def test_isolated_atom(models: Path, tmp_path: Path) -> None:
    atoms = ethanol()[:1]
    found = in_lammps(atoms, models / "double.janus.pt", tmp_path, 2)
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))


def test_types_in_any_order(models: Path, tmp_path: Path) -> None:
    atoms = crystal()
    expected = in_ase(atoms, models / "double.janus.pt")
    for place, types in enumerate((["Si", "O"], ["O", "Cl", "Si"])):
        found = in_lammps(atoms, models / "double.janus.pt", tmp_path / str(place), 2, types=types)
        assert_agrees(found, expected)


def test_units_real(models: Path, tmp_path: Path) -> None:
    atoms = crystal()
    found = in_lammps(atoms, models / "double.janus.pt", tmp_path, 2, units="real")
    expected = in_ase(atoms, models / "double.janus.pt").calc.results
    kcal = 23.060549
    assert found.energy == pytest.approx(expected["energy"] * kcal, rel=1e-12)
    np.testing.assert_allclose(found.forces, expected["forces"] * kcal, rtol=0, atol=1e-8)


@pytest.mark.parametrize("task", ["pbe", "r2scan"])
def test_task_charge_spin_and_composition(task: str, labelled_model: Path, tmp_path: Path) -> None:
    atoms = crystal()
    atoms.info.update(charge=1.0, spin=2.0)
    found = in_lammps(atoms, labelled_model, tmp_path, 2, style=f"task {task} charge 1 spin 2")
    assert_agrees(found, in_ase(atoms, labelled_model, task))
    style = f"task {task} charge 1 spin 2 chunk 7"
    in_chunks = in_lammps(atoms, labelled_model, tmp_path, 2, style=style)
    assert_agrees(in_chunks, in_ase(atoms, labelled_model, task))
    neutral = in_lammps(atoms, labelled_model, tmp_path, 2, style=f"task {task}")
    assert abs(neutral.energy - found.energy) > 1e-6


@pytest.mark.parametrize("ranks", RANKS)
def test_null_leaves_atoms_to_another_style(ranks: int, models: Path, tmp_path: Path) -> None:
    atoms = crystal()
    atoms.symbols[[3, 10]] = "Ar"
    types = ["Ar", "O", "Si"]
    numbers = [atomic_numbers[symbol] for symbol in types]
    zbl = [
        f"pair_coeff {i + 1} {j + 1} %s {numbers[i]} {numbers[j]}"
        for i in range(3)
        for j in range(i, 3)
    ]
    alone = ["pair_style zbl 2.0 3.5", *(line % "" for line in zbl)]
    both = [
        "pair_style hybrid/overlay janus zbl 2.0 3.5",
        f"pair_coeff * * janus {models / 'double.janus.pt'} NULL O Si",
        *(line % "zbl" for line in zbl),
    ]
    results = []
    for name, pair in (("zbl", alone), ("both", both)):
        folder = tmp_path / name
        lines = setup(atoms, folder, pair, types)
        results.append(reported(lines, folder, ranks))
    seen = atoms.numbers != atomic_numbers["Ar"]
    expected = in_ase(atoms[seen], models / "double.janus.pt").calc.results
    assert results[1].energy - results[0].energy == pytest.approx(expected["energy"], abs=1e-8)
    difference = results[1].forces - results[0].forces
    np.testing.assert_allclose(difference[seen], expected["forces"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(difference[~seen], 0.0, atol=1e-12)


def test_other_name(models: Path, tmp_path: Path) -> None:
    atoms = ethanol()
    pair = janus_pair(models / "double.janus.pt", ["H", "O", "Si"])
    pair[0] = "pair_style janus/md device cpu"
    found = reported(setup(atoms, tmp_path, pair), tmp_path)
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))


@pytest.mark.slow
def test_blocks_computed_again_where_memory_would_be_large(models: Path, tmp_path: Path) -> None:
    """One rank is above the bound at which it keeps only inputs of blocks, each of four is below it."""
    atoms = crystal() * (5, 5, 5)
    model = models / "double.janus.pt"
    one, four = (in_lammps(atoms, model, tmp_path / str(n), n) for n in (1, 4))
    assert preset("tiny").floats_per_edge * 8 * 40 * len(atoms) > 512 * 1024**2
    assert one.energy == pytest.approx(four.energy, rel=1e-12)
    np.testing.assert_allclose(one.forces, four.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.atom_stresses, four.atom_stresses, rtol=1e-9, atol=1e-9)
    bounded, whole = (
        peak_memory(
            [*setup(atoms, tmp_path, janus_pair(model, ["O", "Si"], style)), "run 0"], tmp_path
        )
        for style in ("", "memory 10")
    )
    assert bounded < whole - 256 * 1024**2


@pytest.mark.parametrize("ranks", [1, 3])
def test_two_models_in_one_hybrid_style(ranks: int, ensemble: list[Path], tmp_path: Path) -> None:
    """Features of two widths go through LAMMPS's one buffer."""
    atoms = crystal()
    pair = [
        "pair_style hybrid/overlay janus janus",
        f"pair_coeff * * janus 1 {ensemble[0]} O Si",
        f"pair_coeff * * janus 2 {ensemble[-1]} O Si",
    ]
    found = reported(setup(atoms, tmp_path, pair), tmp_path, ranks)
    one, other = (in_ase(atoms, model).calc.results for model in (ensemble[0], ensemble[-1]))
    assert found.energy == pytest.approx(one["energy"] + other["energy"], abs=1e-8)
    np.testing.assert_allclose(found.forces, one["forces"] + other["forces"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.energies, one["energies"] + other["energies"], atol=1e-9)
