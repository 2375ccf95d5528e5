"""Rotation, reflection, translation, permutation: energy 1e-10 relative, forces 1e-8 eV/Å."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

SETTINGS = settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
UNIT = st.floats(-1.0, 1.0, allow_nan=False)


def assert_same(first, second, forces) -> None:
    energy = float(first.energy[0])
    assert abs(float(second.energy[0]) - energy) <= 1e-10 * max(1.0, abs(energy))
    np.testing.assert_allclose(second.forces.numpy(), forces, atol=1e-8)


@SETTINGS
@given(quaternion=st.tuples(UNIT, UNIT, UNIT, st.floats(0.1, 1.0)), mirror=st.booleans())
def test_rotation_and_reflection(evaluate, crystal, molecule, quaternion, mirror) -> None:
    matrix = Rotation.from_quat(quaternion).as_matrix() * (-1.0 if mirror else 1.0)
    for atoms in (crystal, molecule):
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ matrix.T)
        turned.positions = atoms.positions @ matrix.T
        before, after = evaluate(atoms), evaluate(turned)
        assert_same(before, after, before.forces.numpy() @ matrix.T)


@SETTINGS
@given(shift=st.tuples(*[st.floats(-20, 20)] * 3))
def test_translation(evaluate, crystal, molecule, shift) -> None:
    for atoms in (crystal, molecule):
        moved = atoms.copy()
        moved.positions += shift
        before = evaluate(atoms)
        assert_same(before, evaluate(moved), before.forces.numpy())


@SETTINGS
@given(data=st.data())
def test_permutation(evaluate, crystal, molecule, data) -> None:
    for atoms in (crystal, molecule):
        order = data.draw(st.permutations(range(len(atoms))))
        before = evaluate(atoms)
        assert_same(before, evaluate(atoms[order]), before.forces.numpy()[order])


def test_left_handed_cell_is_no_special_case(evaluate, crystal) -> None:
    twin = crystal.copy()
    twin.set_cell(crystal.cell.array[[1, 0, 2]])
    assert np.linalg.det(twin.cell.array) < 0 < np.linalg.det(crystal.cell.array)
    right, left = evaluate(crystal, stress=True), evaluate(twin, stress=True)
    assert_same(right, left, right.forces.numpy())
    np.testing.assert_allclose(left.stress.numpy(), right.stress.numpy(), atol=1e-12)


def test_atoms_outside_the_cell_are_the_same_structure(evaluate, crystal) -> None:
    moved = crystal.copy()
    moved.positions[0] += 3 * crystal.cell.array[0] - crystal.cell.array[2]
    before = evaluate(crystal)
    assert_same(before, evaluate(moved), before.forces.numpy())


@pytest.mark.parametrize("copies", [(2, 2, 2), (1, 1, 3)])
def test_supercell_is_extensive(evaluate, crystal, copies) -> None:
    one, many = evaluate(crystal, stress=True), evaluate(crystal.repeat(copies), stress=True)
    factor = int(np.prod(copies))
    assert abs(float(many.energy[0]) / (factor * float(one.energy[0])) - 1.0) < 1e-10
    np.testing.assert_allclose(many.stress.numpy(), one.stress.numpy(), atol=1e-10)
    np.testing.assert_allclose(
        many.forces.numpy(), np.tile(one.forces.numpy(), (factor, 1)), atol=1e-9
    )


def test_one_atom_cell_sees_its_own_images(evaluate) -> None:
    cell = ase.Atoms("Si", cell=[[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]], pbc=True)
    one, eight = evaluate(cell), evaluate(cell.repeat(2))
    assert abs(8 * float(one.energy[0]) - float(eight.energy[0])) < 1e-9
    np.testing.assert_allclose(one.forces.numpy(), 0.0, atol=1e-10)
