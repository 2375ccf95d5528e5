"""What the sub-commands check before they begin: outputs and elements."""

from __future__ import annotations

import os
from pathlib import Path

from janus_md.errors import UserError, nearest
from janus_md.folders import write_into


def refuse_existing(path: Path, force: bool) -> None:
    """Raise ``UserError`` where ``path`` exists and may not be replaced, or cannot be written.

    Better now than after the work is done.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the name of a file")
    if path.exists() and not force:
        raise UserError(f"{path} already exists: give another name, or --force to replace it")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UserError(f"the folder of {path} does not exist: create {path.parent} first")
    try:
        write_into(folder)
    except OSError as fault:
        raise UserError(
            f"{path} cannot be written ({fault.strerror}): choose another folder"
        ) from fault
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"{path} is protected against writing: give another name")


def refuse_other_ending(path: Path) -> None:
    """Raise ``UserError`` where LAMMPS would not take ``path`` for a model: in an ensemble it goes by the ending."""
    if path.suffix != ".pt":
        raise UserError(f"{path} would not be known as a model: let its name end with .janus.pt")


def element_symbols(values: list[str] | None) -> list[str] | None:
    """The elements asked for: ``-e Si,O``, ``-e "Si O"`` and ``-e Si -e O`` all mean the same.

    Raises ``UserError`` naming a symbol that is no element's.
    """
    from ase.data import chemical_symbols

    if not values:
        return None
    symbols = [symbol for value in values for symbol in value.replace(",", " ").split()]
    for symbol in symbols:
        if symbol not in chemical_symbols[1:]:
            raise UserError(
                f"'{symbol}' is no chemical element{nearest(symbol, chemical_symbols[1:])}: "
                "write symbols such as Si or O"
            )
    return symbols
