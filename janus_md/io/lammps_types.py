"""LAMMPS files that number their types and name no element: ASE takes the numbers for atomic numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from janus_md.errors import UserError

HEAD = 1_000_000
"""Characters before which such a file names its columns or types."""


def refuse_nameless_types(atoms: Atoms, path: Path) -> None:
    """Raise ``UserError`` where type 1 of a data file or dump has become hydrogen for want of a name or mass."""
    suspicious = np.array_equal(atoms.arrays.get("type"), atoms.numbers)
    if suspicious and not atoms.has("masses") and not _names_elements(path, set(atoms.numbers)):
        raise UserError(
            f"{path} does not say of which elements its types are: give it a section Masses or, a dump, a column "
            "element"
        )


def _names_elements(path: Path, numbers: set[int]) -> bool:
    """True as well for what is no file of LAMMPS's: there ``type`` may be anything."""
    with path.open(errors="replace") as file:
        head = file.read(HEAD)
    if columns := re.search("^ITEM: ATOMS (.*)$", head, re.MULTILINE):
        return bool({"element", "mass"} & set(columns[1].split()))
    if not re.search("^Atoms", head, re.MULTILINE):
        return True
    labels = dict(re.findall(r"^\s*(\d+)\s+([A-Z][a-z]?)\s*$", head, re.MULTILINE))
    return all(labels.get(str(number)) == chemical_symbols[number] for number in numbers)
