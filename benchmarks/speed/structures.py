"""Structures that every speed benchmark uses; needs nothing but ASE, so it runs in any peer's environment."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial

import ase
import numpy as np
from ase.build import bulk, molecule
from ase.spacegroup import crystal

SIZES = (64, 216, 512, 1000, 4096, 10000)
"""Atoms aimed at; a supercell of the material comes as near as it can while it is compact."""


def structure(material: str, size: int) -> ase.Atoms:
    """About ``size`` atoms of ``material``, displaced by 0.1 Å."""
    cell = MATERIALS[material]()
    atoms = cell.repeat(_copies(cell, size))
    if material == "water":
        _turn_molecules(atoms)
    atoms.rattle(0.1, seed=0)
    return atoms


def _salt() -> ase.Atoms:
    return bulk("NaCl", "rocksalt", a=5.64, cubic=True)


def _silicon() -> ase.Atoms:
    return bulk("Si", "diamond", a=5.43, cubic=True)


def _olivine() -> ase.Atoms:
    """LiFePO₄, 28 atoms; Pnma, lengths in Å, positions rounded from its X-ray structure."""
    sites = {
        "Li": [(0, 0, 0)],
        "Fe": [(0.282, 0.25, 0.975)],
        "P": [(0.095, 0.25, 0.418)],
        "O": [(0.097, 0.25, 0.743), (0.457, 0.25, 0.206), (0.166, 0.046, 0.285)],
    }
    symbols = [symbol for symbol, places in sites.items() for _ in places]
    basis = [place for places in sites.values() for place in places]
    cell = [10.332, 6.010, 4.692, 90, 90, 90]
    found = crystal(symbols, basis, spacegroup=62, cellpar=cell)
    return ase.Atoms(found.symbols, found.positions, cell=found.cell, pbc=True)


def _water() -> ase.Atoms:
    """One molecule in its share of the liquid, 1 g/cm³."""
    one = molecule("H2O")
    one.set_cell([29.9 ** (1 / 3)] * 3)
    one.pbc = True
    return one


MATERIALS: dict[str, Callable[[], ase.Atoms]] = {
    "salt": _salt,
    "silicon": _silicon,
    "olivine": _olivine,
    "water": _water,
}
"""Name → its cell."""

NAMES = {"salt": "rock salt", "silicon": "silicon", "olivine": "LiFePO₄", "water": "water"}
"""Name → what it is called in tables."""

SYSTEMS: dict[str, Callable[[], ase.Atoms]] = {
    f"{material}-{size}": partial(structure, material, size)
    for material in MATERIALS
    for size in SIZES
}
"""Name → structure."""


def _copies(cell: ase.Atoms, size: int) -> tuple[int, int, int]:
    """Repeats along the cell's vectors; a tenth too many atoms weighs as much as edges 1.6 times as long as others."""
    lengths = cell.cell.lengths()

    def cost(copies: tuple[int, int, int]) -> float:
        edges = lengths * copies
        wrong = abs(math.log(len(cell) * math.prod(copies) / size))
        return wrong + 0.2 * math.log(edges.max() / edges.min())

    most = math.ceil((size / len(cell)) ** (1 / 3) * 3)
    return min(itertools.product(range(1, most + 1), repeat=3), key=cost)


def _turn_molecules(atoms: ase.Atoms) -> None:
    """Turn each molecule, three atoms with the oxygen first, about its oxygen at random."""
    rng = np.random.default_rng(0)
    places = atoms.positions.reshape(-1, 3, 3)
    turns, _ = np.linalg.qr(rng.normal(size=(len(places), 3, 3)))
    bonds = places - places[:, :1]
    atoms.positions = (places[:, :1] + bonds @ turns).reshape(-1, 3)
