"""The structures that the LAMMPS tests run on."""

from __future__ import annotations

import ase
import numpy as np
from ase.build import bulk, fcc100, molecule


def crystal() -> ase.Atoms:
    """Periodic, two elements at random places, rattled; smaller than twice the cutoff."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (2, 2, 1)
    atoms.rattle(0.1, seed=1)
    atoms.symbols[np.random.default_rng(0).random(len(atoms)) < 0.3] = "O"
    return atoms


def salt() -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=2)
    return atoms


def tilted() -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 1, 1)
    atoms.set_cell([[11.3, 0, 0], [1.7, 5.6, 0], [-2.1, 0.9, 5.7]], scale_atoms=True)
    atoms.rattle(0.1, seed=2)
    return atoms


def slab() -> ase.Atoms:
    atoms = fcc100("Si", (3, 3, 2), a=4.5, vacuum=8.0)
    atoms.rattle(0.1, seed=3)
    atoms.symbols[::4] = "O"
    atoms.pbc = (True, True, False)
    return atoms


def ethanol() -> ase.Atoms:
    """A molecule of elements the model knows."""
    atoms = molecule("CH3CH2OH")
    atoms.symbols[[symbol == "C" for symbol in atoms.symbols]] = "Si"
    return atoms


def pair_of_clusters() -> ase.Atoms:
    """Two water molecules at the ends of a long box: with four ranks along it, two hold no atom."""
    water = molecule("H2O")
    far = water.copy()
    far.positions[:, 0] += 60.0
    return water + far
