"""The structure that a model is applied to: what the file holds, and what was said beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms


def charged_structure(path: Path, charge: float | None, spin: float | None) -> Atoms:
    """The structure of ``path``, with this total charge (e) and spin multiplicity where they are given."""
    from janus_md.io.structures import read_structure

    atoms = read_structure(path)
    given = {"charge": charge, "spin": spin}
    atoms.info.update({name: value for name, value in given.items() if value is not None})
    return atoms
