"""Fragments do not feel each other, batch mates do not either, and empty neighbourhoods are ordinary."""

from __future__ import annotations

import ase
import numpy as np


def test_distant_fragments_add_up(evaluate, molecule) -> None:
    other = ase.Atoms("SiO", [[0, 0, 0], [1.7, 0, 0]])
    far = other.copy()
    far.positions += [0, 0, 40.0]
    together = evaluate(molecule + far)
    separate = evaluate.energy(molecule) + evaluate.energy(other)
    assert abs(float(together.energy[0]) / separate - 1.0) < 1e-10


def test_result_does_not_depend_on_batch_mates(evaluate, crystal, molecule) -> None:
    dimer = ase.Atoms("NaCl", [[0, 0, 0], [5.2, 0, 0]])
    lone = ase.Atoms("Na")
    structures = [dimer, crystal, lone, molecule]
    together = evaluate(*structures)
    first = 0
    for index, atoms in enumerate(structures):
        alone = evaluate(atoms)
        rows = slice(first, first + len(atoms))
        first += len(atoms)
        assert abs(float(alone.energy[0] - together.energy[index])) < 1e-10
        np.testing.assert_allclose(together.forces[rows].numpy(), alone.forces.numpy(), atol=1e-10)


def test_isolated_atom_and_pair_beyond_all_cutoffs(evaluate) -> None:
    lone, pair = ase.Atoms("Na"), ase.Atoms("Na2", [[0, 0, 0], [0, 0, 9.0]])
    one, two = evaluate(lone), evaluate(pair)
    assert np.isfinite(float(one.energy[0]))
    assert abs(2 * float(one.energy[0]) - float(two.energy[0])) < 1e-10
    assert float(one.forces.abs().max()) == float(two.forces.abs().max()) == 0.0


def test_edges_without_any_angle(evaluate) -> None:
    wide = evaluate(ase.Atoms("NaCl", [[0, 0, 0], [0, 0, 5.5]]))
    assert np.isfinite(float(wide.energy[0]))
    assert float(wide.forces[1, 2].abs()) > 0.0
    np.testing.assert_allclose(wide.forces[:, :2].numpy(), 0.0, atol=1e-14)


def test_periodic_atom_without_neighbours_has_no_stress(evaluate) -> None:
    sparse = evaluate(ase.Atoms("Na", cell=[20, 20, 20], pbc=True), stress=True)
    assert float(sparse.stress.abs().max()) == 0.0


def test_batch_keeps_the_order_of_atoms(evaluate, crystal, molecule) -> None:
    energies = evaluate(molecule, crystal).energies.numpy()
    alone = np.concatenate(
        [evaluate(molecule).energies.numpy(), evaluate(crystal).energies.numpy()]
    )
    np.testing.assert_allclose(energies, alone, atol=1e-10)
