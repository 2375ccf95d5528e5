"""Folders to write into."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from janus_md.errors import UserError


def write_into(folder: Path) -> None:
    """Raise what the system says, an ``OSError``, where nothing can be written into ``folder``."""
    with TemporaryFile(dir=folder):
        pass


def make_writable(folder: Path, advice: str = "choose another") -> None:
    """Make a folder where there is none.

    Raises ``UserError``, ending with ``advice``, where that is not possible or nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_into(folder)
    except OSError as fault:
        raise UserError(
            f"the folder {folder} cannot be written into ({fault.strerror}): {advice}"
        ) from fault
