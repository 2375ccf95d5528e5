"""Structures that every speed benchmark uses; needs nothing but ASE, so it runs in any peer's environment."""

from __future__ import annotations

from collections.abc import Callable

import ase
from ase.build import bulk


def rattled_salt(copies: int = 3) -> ase.Atoms:
    """Rock salt, 8·copies³ atoms, displaced by 0.1 Å."""
    return _rattled(bulk("NaCl", "rocksalt", a=5.64, cubic=True), copies)


def rattled_silicon(copies: int) -> ase.Atoms:
    """Diamond silicon, 8·copies³ atoms, displaced by 0.1 Å."""
    return _rattled(bulk("Si", "diamond", a=5.43, cubic=True), copies)


SYSTEMS: dict[str, Callable[[], ase.Atoms]] = {
    "salt-64": lambda: rattled_salt(2),
    "salt-216": lambda: rattled_salt(3),
    "silicon-64": lambda: rattled_silicon(2),
    "silicon-216": lambda: rattled_silicon(3),
    "silicon-1000": lambda: rattled_silicon(5),
}
"""Name → structure."""


def _rattled(cell: ase.Atoms, copies: int) -> ase.Atoms:
    atoms = cell.repeat(copies)
    atoms.rattle(0.1, seed=0)
    return atoms
