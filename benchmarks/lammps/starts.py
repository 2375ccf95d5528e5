"""Structures that dynamics starts from."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.build import bulk, molecule

LATTICE = 5.469
"""Å, PBE silicon."""


def silicon(cells: int) -> Atoms:
    """cells³ · 8 rattled atoms."""
    atoms = bulk("Si", "diamond", a=LATTICE, cubic=True).repeat(cells)
    atoms.rattle(0.02, seed=0)
    return atoms


def water(cells: int) -> Atoms:
    """cells³ randomly turned molecules on a cubic lattice at 1 g/cm³; has to be minimized and equilibrated."""
    generator = np.random.default_rng(0)
    one = molecule("H2O")
    grams = one.get_masses().sum() / units.kg * 1e3
    spacing = (grams * 1e24) ** (1 / 3)
    atoms = Atoms(cell=3 * [cells * spacing], pbc=True)
    for site in np.ndindex(cells, cells, cells):
        turned = one.copy()
        turned.rotate(generator.uniform(0, 360), generator.normal(size=3))
        turned.translate(spacing * np.array(site) - turned.get_center_of_mass())
        atoms += turned
    return atoms


STARTS = {"silicon": silicon, "water": water}
