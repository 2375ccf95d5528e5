"""Relaxation of a crystal whose minimum is known: copper of ASE's effective medium theory."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from janus_md.calculators.relaxation import relax

LATTICE = 3.59
"""Å, of EMT's copper."""


@pytest.fixture
def strained() -> ase.Atoms:
    """A cubic cell under strain and shear, its atoms off their places."""
    atoms = bulk("Cu", cubic=True, a=LATTICE)
    strain = [[0.03, 0.01, 0.0], [0.01, -0.02, 0.0], [0.0, 0.0, 0.02]]
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    return atoms


def test_a_free_cell_loses_its_stress(strained: ase.Atoms) -> None:
    before = strained.cell.array.copy()
    found = relax(strained, cell=True, fmax=0.002)
    assert found.converged
    assert found.fmax < 0.002
    assert found.stress == pytest.approx(np.abs(found.atoms.get_stress()).max())
    assert found.stress < 5e-4
    assert np.abs(strained.get_stress()).max() > 1e-2
    volume = found.atoms.get_volume() / len(found.atoms)
    assert (4 * volume) ** (1 / 3) == pytest.approx(LATTICE, abs=0.01)
    np.testing.assert_allclose(found.atoms.cell.angles(), 90.0, atol=0.1)
    np.testing.assert_array_equal(strained.cell.array, before)


def test_a_fixed_cell_stays(strained: ase.Atoms) -> None:
    found = relax(strained, fmax=0.002)
    assert found.converged and found.stress is None
    assert np.linalg.norm(found.atoms.get_forces(), axis=1).max() < 0.002
    np.testing.assert_array_equal(found.atoms.cell.array, strained.cell.array)
    assert found.energy < strained.get_potential_energy()


@pytest.mark.parametrize("cell", [False, True])
def test_too_few_steps_do_not_converge(strained: ase.Atoms, cell: bool) -> None:
    lines: list[str] = []
    found = relax(strained, cell=cell, fmax=0.002, steps=2, report=lines.append)
    assert not found.converged and found.steps == 2
    assert found.fmax > 0.002
    assert lines[0].startswith("step     0  energy ")
