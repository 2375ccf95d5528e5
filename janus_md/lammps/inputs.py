"""LAMMPS data files and input lines for ASE structures.

Types are numbered in the order of ``type_order``, and the same order goes into ``pair_coeff``, so
that the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ase
from ase.data import atomic_masses, atomic_numbers
from ase.io.lammpsdata import write_lammps_data

from janus_md.errors import UserError

ROOM = 10.0
"""Å left free around atoms in directions that are not periodic."""


def type_order(atoms: ase.Atoms) -> list[str]:
    """The elements of ``atoms`` by atomic number: type 1, 2, ..."""
    return sorted(set(atoms.symbols), key=atomic_numbers.__getitem__)


def boundary(atoms: ase.Atoms) -> str:
    """LAMMPS's ``boundary``: ``p`` where periodic, ``f`` elsewhere."""
    return " ".join("p" if periodic else "f" for periodic in atoms.pbc)


def write_data(
    atoms: ase.Atoms, path: str | Path, types: Sequence[str] | None = None, units: str = "metal"
) -> list[str]:
    """Write a LAMMPS data file (``atom_style atomic``), masses included.

    Directions that are not periodic get a box around the atoms; a cell that LAMMPS cannot hold as it is
    (not lower triangular) is rotated, as ASE does.

    Args:
        types: element of each type; :func:`type_order` if None. Elements without atoms are allowed.

    Returns:
        The element of each type, for ``pair_coeff``.

    Raises:
        UserError: an element of ``atoms`` is not among ``types``.
    """
    order = list(types) if types is not None else type_order(atoms)
    missing = sorted(set(atoms.symbols) - set(order))
    if missing:
        raise UserError(
            f"the types {' '.join(order)} leave out {' '.join(missing)}: name every element"
        )
    boxed = _boxed(atoms)
    write_lammps_data(
        str(path),
        boxed,
        specorder=order,
        masses=True,
        units=units,
        atom_style="atomic",
        velocities=False,
    )
    return order


def input_lines(
    atoms: ase.Atoms,
    data: str | Path,
    model: str | Path,
    types: Sequence[str] | None = None,
    style: str = "",
    units: str = "metal",
) -> list[str]:
    """The input lines that set up ``atoms`` (in the data file ``data``) with the exported ``model``.

    ``style`` holds arguments of ``pair_style janus``, e.g. ``"task omat"``.
    """
    order = list(types) if types is not None else type_order(atoms)
    return [
        f"units {units}",
        "atom_style atomic",
        f"boundary {boundary(atoms)}",
        f"read_data {data}",
        f"pair_style janus {style}".rstrip(),
        f"pair_coeff * * {model} {' '.join(order)}",
    ]


def write_input(
    atoms: ase.Atoms,
    folder: str | Path,
    model: str | Path,
    commands: Sequence[str],
    types: Sequence[str] | None = None,
    style: str = "",
    units: str = "metal",
) -> Path:
    """Write ``data.lmp`` and ``in.lmp`` into ``folder``: the set-up, then ``commands``. Returns the input file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    order = write_data(atoms, folder / "data.lmp", types, units)
    path = folder / "in.lmp"
    lines = input_lines(atoms, "data.lmp", Path(model).resolve(), order, style, units)
    path.write_text("\n".join([*lines, *commands]) + "\n")
    return path


def masses(types: Sequence[str]) -> list[float]:
    """Mass of each type, g/mol."""
    return [float(atomic_masses[atomic_numbers[symbol]]) for symbol in types]


def _boxed(atoms: ase.Atoms) -> ase.Atoms:
    """A copy with room around the atoms where they are not periodic; distances stay as they are."""
    boxed = atoms.copy()
    boxed.calc = None
    if atoms.pbc.all():
        return boxed
    if not atoms.pbc.any():
        low = atoms.positions.min(axis=0) - ROOM
        boxed.positions -= low
        boxed.cell = boxed.positions.max(axis=0) + ROOM
        return boxed
    for axis in range(3):
        if not atoms.pbc[axis]:
            boxed.center(vacuum=ROOM, axis=axis)
    return boxed
