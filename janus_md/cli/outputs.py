"""What the sub-commands share: choices of precision and the guard over existing outputs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from janus_md.errors import UserError


class Precision(StrEnum):
    """Arithmetic of a deployed model; geometry is float64 in both."""

    single = "single"
    double = "double"


def refuse_existing(path: Path, force: bool) -> None:
    """Raise ``UserError`` where ``path`` exists and may not be replaced.

    A missing parent folder is an error too: better now than after the work is done.
    """
    if path.exists() and not force:
        raise UserError(f"{path} already exists: give another name, or --force to replace it")
    if not path.absolute().parent.is_dir():
        raise UserError(f"the folder of {path} does not exist: create {path.parent} first")


def split_symbols(values: list[str] | None) -> list[str] | None:
    """``-e Si,O``, ``-e "Si O"`` and ``-e Si -e O`` all mean the same."""
    if not values:
        return None
    return [symbol for value in values for symbol in value.replace(",", " ").split()]


def known_symbols(symbols: list[str] | None) -> list[str] | None:
    """Check that each symbol is an element's; raises ``UserError`` naming the one that is not."""
    from ase.data import atomic_numbers

    for symbol in symbols or []:
        if symbol not in atomic_numbers or symbol == "X":
            raise UserError(f"'{symbol}' is no chemical element: write symbols such as Si or O")
    return symbols
