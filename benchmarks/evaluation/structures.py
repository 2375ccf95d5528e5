"""Structures that every evaluation benchmark uses; needs nothing but ASE, so it runs in any peer's environment."""

from __future__ import annotations

import ase
from ase.build import bulk


def rattled_salt(copies: int = 3) -> ase.Atoms:
    """Rock salt, 8·copies³ atoms, displaced by 0.1 Å."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(copies)
    atoms.rattle(0.1, seed=0)
    return atoms
