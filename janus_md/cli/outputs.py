"""What the sub-commands check before they begin: outputs and elements."""

from __future__ import annotations

from pathlib import Path

from janus_md.errors import UserError, nearest


def refuse_existing(path: Path, force: bool) -> None:
    """Raise ``UserError`` where ``path`` exists and may not be replaced.

    A missing parent folder is an error too: better now than after the work is done.
    """
    if path.exists() and not force:
        raise UserError(f"{path} already exists: give another name, or --force to replace it")
    if not path.absolute().parent.is_dir():
        raise UserError(f"the folder of {path} does not exist: create {path.parent} first")


def element_symbols(values: list[str] | None) -> list[str] | None:
    """The elements asked for: ``-e Si,O``, ``-e "Si O"`` and ``-e Si -e O`` all mean the same.

    Raises ``UserError`` naming a symbol that is no element's.
    """
    from ase.data import atomic_numbers

    if not values:
        return None
    symbols = [symbol for value in values for symbol in value.replace(",", " ").split()]
    for symbol in symbols:
        if symbol not in atomic_numbers or symbol == "X":
            raise UserError(
                f"'{symbol}' is no chemical element{nearest(symbol, atomic_numbers)}: write symbols such as Si or O"
            )
    return symbols
