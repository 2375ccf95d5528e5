"""Structures that dynamics starts from."""

from __future__ import annotations

import sys
from pathlib import Path

from ase import Atoms
from ase.build import bulk

sys.path.append(str(Path(__file__).resolve().parents[1] / "speed"))

from structures import structure


def silicon(cells: int) -> Atoms:
    """cells³ · 8 rattled atoms, at the lattice constant of PBE."""
    atoms = bulk("Si", "diamond", a=5.469, cubic=True).repeat(cells)
    atoms.rattle(0.02, seed=0)
    return atoms


def water(cells: int) -> Atoms:
    """cells³ randomly turned molecules on a lattice at 1 g/cm³; has to be minimized and equilibrated."""
    return structure("water", 3 * cells**3)


STARTS = {"silicon": silicon, "water": water}
