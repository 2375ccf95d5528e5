"""Structures of the speed benchmarks."""

from __future__ import annotations

from collections.abc import Callable

import ase
from ase.build import bulk


def salt(copies: int) -> list[ase.Atoms]:
    """Rock salt, 8·copies³ atoms, displaced by 0.1 Å."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True).repeat(copies)
    atoms.rattle(0.1, seed=0)
    return [atoms]


def silicon(copies: int) -> list[ase.Atoms]:
    """Diamond silicon, 8·copies³ atoms, displaced by 0.1 Å."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(copies)
    atoms.rattle(0.1, seed=0)
    return [atoms]


SYSTEMS: dict[str, Callable[[], list[ase.Atoms]]] = {
    "salt-64": lambda: salt(2),
    "salt-216": lambda: salt(3),
    "silicon-64": lambda: silicon(2),
    "silicon-216": lambda: silicon(3),
}
"""Name → structures."""
