"""LAMMPS data files and input lines for ASE and pymatgen structures.

Types are numbered in the order of ``type_order``, and the same order goes into ``pair_coeff``, so
that the two cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import ase
import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.io.lammpsdata import write_lammps_data

from janus_md.errors import UserError
from janus_md.folders import make_writable
from janus_md.io.electrons import electrons
from janus_md.lammps.model_facts import ModelFacts, model_facts

if TYPE_CHECKING:
    from pymatgen.core import Molecule, Structure

    AnyStructure: TypeAlias = ase.Atoms | Structure | Molecule

Models: TypeAlias = str | Path | Sequence[str | Path]
"""One exported file, or those of an ensemble."""

ROOM = 10.0
"""Å left free around atoms in directions that are not periodic."""


def type_order(atoms: ase.Atoms) -> list[str]:
    """The elements of ``atoms`` by atomic number: type 1, 2, ..."""
    return sorted(set(atoms.symbols), key=atomic_numbers.__getitem__)


def boundary(atoms: ase.Atoms) -> str:
    """LAMMPS's ``boundary``: ``p`` where periodic, ``f`` elsewhere."""
    return " ".join("p" if periodic else "f" for periodic in atoms.pbc)


def write_data(
    structure: AnyStructure,
    path: str | Path,
    types: Sequence[str] | None = None,
    units: str = "metal",
) -> list[str]:
    """Write a LAMMPS data file (``atom_style atomic``), masses and any velocities included.

    Directions that are not periodic get a box around the atoms; a cell that LAMMPS cannot hold as it is
    (not lower triangular) is rotated, as ASE does.

    Args:
        types: element of each type; :func:`type_order` if None. Elements without atoms are allowed.

    Returns:
        The element of each type, for ``pair_coeff``.

    Raises:
        UserError: an element of the structure is not among ``types``, or has atoms of several masses, or it has partly
            occupied sites.
    """
    atoms = as_atoms(structure)
    _refuse_isotopes(atoms)
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
        velocities=bool(atoms.has("momenta")),
    )
    return order


def input_lines(
    structure: AnyStructure,
    data: str | Path,
    model: Models,
    types: Sequence[str] | None = None,
    style: str = "",
    units: str = "metal",
) -> list[str]:
    """The input lines that set up a structure (in the data file ``data``) with the exported ``model``.

    Several models are an ensemble: the first moves the atoms. ``style`` holds arguments of ``pair_style janus``,
    e.g. ``"task omat"``.
    """
    atoms = as_atoms(structure)
    order = list(types) if types is not None else type_order(atoms)
    files = " ".join(_word(path) for path in _several(model))
    return [
        f"units {units}",
        "atom_style atomic",
        f"boundary {boundary(atoms)}",
        f"read_data {_word(data)}",
        f"pair_style janus {style}".rstrip(),
        f"pair_coeff * * {files} {' '.join(order)}",
    ]


def write_input(
    structure: AnyStructure,
    folder: str | Path,
    model: Models,
    commands: Sequence[str],
    types: Sequence[str] | None = None,
    style: str = "",
    units: str = "metal",
) -> Path:
    """Write ``data.lmp`` and ``in.lmp`` into ``folder``: the set-up, then ``commands``. Returns the input file.

    Files of these names are replaced. Charge and spin in ``atoms.info`` go into ``pair_style`` where the model uses
    them and ``style`` does not.

    Raises:
        UserError: a model file is missing or damaged, a model lacks an element of the structure, or a charge or spin
            is not a number.
    """
    atoms = as_atoms(structure)
    models = [model_facts(path) for path in _several(model)]
    for facts in models:
        _check_elements(atoms, facts)
    folder = Path(folder)
    make_writable(folder)
    order = write_data(atoms, folder / "data.lmp", types, units)
    path = folder / "in.lmp"
    files = [facts.path.resolve() for facts in models]
    whole_style = " ".join([style, *_electrons(atoms, models[0], style)]).strip()
    lines = input_lines(atoms, "data.lmp", files, order, whole_style, units)
    path.write_text("\n".join([*lines, *commands]) + "\n")
    return path


def masses(types: Sequence[str]) -> list[float]:
    """Mass of each type, g/mol."""
    return [float(atomic_masses[atomic_numbers[symbol]]) for symbol in types]


def as_atoms(structure: AnyStructure) -> ase.Atoms:
    """ASE atoms as they are; a pymatgen ``Structure`` or ``Molecule`` as ASE atoms."""
    if isinstance(structure, ase.Atoms):
        return structure
    from janus_md.io.pymatgen import atoms_from_pymatgen

    return atoms_from_pymatgen(structure)


def _several(model: Models) -> list[str | Path]:
    return [model] if isinstance(model, str | Path) else list(model)


def _word(path: str | Path) -> str:
    """A path as one word: outside of quotes LAMMPS ends words at blanks, comments at # and looks for variables at $."""
    text = str(path)
    if re.fullmatch(r"[\w./+,:=@%~-]+", text):
        return text
    quote = next(quote for quote in ('"', "'", '"""') if quote not in text)
    return f"{quote}{text}{quote}"


def _check_elements(atoms: ase.Atoms, model: ModelFacts) -> None:
    missing = [symbol for symbol in type_order(atoms) if symbol not in model.elements]
    if missing:
        raise UserError(
            f"{model.path} does not know {' '.join(missing)}: it was made for {' '.join(model.elements)}"
        )


def _electrons(atoms: ase.Atoms, model: ModelFacts, style: str) -> list[str]:
    used = {"charge": model.uses_charge, "spin": model.uses_spin}
    return [
        f"{name} {value:g}"
        for (name, wanted), value in zip(used.items(), electrons(atoms), strict=True)
        if wanted and name in atoms.info and name not in style.split()
    ]


def _refuse_isotopes(atoms: ase.Atoms) -> None:
    masses = atoms.get_masses()
    for symbol in type_order(atoms):
        own = masses[atoms.symbols == symbol]
        if np.ptp(own) > 1e-6:
            raise UserError(
                f"{symbol} has masses from {own.min():g} to {own.max():g}, and a type of LAMMPS has one: write the data"
                " file with types of your own, and name the element for each of them in pair_coeff"
            )


def _boxed(atoms: ase.Atoms) -> ase.Atoms:
    """A copy with room around the atoms where they are not periodic; distances stay as they are."""
    boxed = atoms.copy()
    boxed.calc = None
    # Of a dump or another data file; ASE would write these numbers, whatever the order of the elements.
    boxed.arrays.pop("type", None)
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
