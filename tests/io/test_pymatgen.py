"""What passes between ASE and pymatgen, and what is refused."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms, FixScaled

from janus_md.errors import UserError
from janus_md.io import atoms_from_pymatgen, pymatgen_from_atoms


def test_pymatgen_both_ways() -> None:
    pytest.importorskip("pymatgen.core")
    for atoms in (bulk("NaCl", "rocksalt", a=5.6), molecule("H2O")):
        again = atoms_from_pymatgen(pymatgen_from_atoms(atoms))
        assert again.get_chemical_symbols() == atoms.get_chemical_symbols()
        assert (again.pbc == atoms.pbc).all()
        np.testing.assert_allclose(again.positions, atoms.positions, atol=1e-12)


@pytest.mark.parametrize("pbc", [False, True])
def test_charge_and_spin_through_pymatgen(pbc: bool) -> None:
    core = pytest.importorskip("pymatgen.core")
    atoms = molecule("CH3", vacuum=4.0, pbc=pbc)
    atoms.info.update(charge=-1.0, spin=3.0)
    there = pymatgen_from_atoms(atoms)
    assert there.charge == -1.0
    back = atoms_from_pymatgen(type(there).from_dict(there.as_dict()))
    assert back.info == {"charge": -1.0, "spin": 3.0}
    charged = core.Structure(core.Lattice.cubic(4.1), ["Al"], [[0, 0, 0]], charge=2)
    assert atoms_from_pymatgen(charged).info == {"charge": 2.0}
    assert atoms_from_pymatgen(pymatgen_from_atoms(bulk("Al"))).info == {}


def test_what_is_fixed_and_velocities_pass_through_pymatgen(tmp_path: Path) -> None:
    """As ASE reads them from the same POSCAR; all atoms had been free."""
    vasp = pytest.importorskip("pymatgen.io.vasp")
    slab = fcc111("Cu", (1, 1, 4), vacuum=6.0, periodic=True)
    constraints = [FixAtoms([0, 1]), FixScaled(2, [True, True, False], slab.cell)]
    slab.set_constraint(constraints)
    slab.set_velocities(np.arange(12.0).reshape(4, 3) / 7)
    ase.io.write(tmp_path / "POSCAR", slab, format="vasp", direct=True)
    text = (tmp_path / "POSCAR").read_text()
    # pymatgen knows velocities by a line that is empty, as VASP may leave it.
    structure = vasp.Poscar.from_str(text.replace("Cartesian", "")).structure
    back = atoms_from_pymatgen(pymatgen_from_atoms(slab))
    for found in (atoms_from_pymatgen(structure), back):
        np.testing.assert_allclose(found.get_velocities(), slab.get_velocities(), atol=1e-6)
        moves = np.ones((4, 3))
        for constraint in found.constraints:
            constraint.adjust_forces(found, moves)
        expected = np.ones((4, 3))
        for constraint in constraints:
            constraint.adjust_forces(slab, expected)
        np.testing.assert_allclose(moves, expected, atol=1e-9)


def test_what_does_not_pass_between_ase_and_pymatgen_is_named() -> None:
    core = pytest.importorskip("pymatgen.core")
    dummy = core.Structure(core.Lattice.cubic(4), [core.DummySpecies("Xa")], [[0, 0, 0]])
    with pytest.raises(UserError, match="has sites of Xa, no element"):
        atoms_from_pymatgen(dummy)
    with pytest.raises(
        UserError, match=r"info\['charge'\] of H2O is 'minus': give a finite number"
    ):
        pymatgen_from_atoms(Atoms("H2O", info={"charge": "minus"}))


@pytest.mark.parametrize("spin", [2.0, 1.5])
def test_an_impossible_multiplicity_is_named(spin: float) -> None:
    pytest.importorskip("pymatgen.core")
    water = molecule("H2O")
    water.info["spin"] = spin
    with pytest.raises(
        UserError, match=rf"H2O cannot have charge 0 and spin multiplicity {spin:g}"
    ):
        pymatgen_from_atoms(water)
