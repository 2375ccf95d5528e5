"""ASE databases: ``.db`` (SQLite), ``.json`` and ``.aselmdb`` (OMat24, OMol25), one file or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.db
import numpy as np
from ase import Atoms

from janus_md.errors import UserError
from janus_md.io.ase_labels import LabelKeys, frame_from_atoms
from janus_md.io.frames import Frame

SUFFIXES = (".db", ".aselmdb")
"""Of what is written, and of what counts in a folder; a single ``.json`` is read, too."""


def database_files(folder: Path) -> list[Path]:
    """The database files of a folder, sorted by name (large sets come in many)."""
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)


def read_database(path: Path, keys: LabelKeys | None = None, task: str = "") -> Iterator[Frame]:
    """Frames of one database, numbered from 0 in the order of its rows."""
    index = 0
    database = _connect(path)
    try:
        for row in database.select():
            yield frame_from_atoms(_atoms_of(row), keys, task, str(path), index)
            index += 1
    except UserError:
        raise
    except Exception as fault:  # sqlite3, lmdb and json each raise errors of their own
        raise UserError(
            f"{path}, frame {index} could not be read ({fault}); the database may be truncated or damaged"
        ) from fault
    finally:
        _close(database)
    if not index:
        raise UserError(f"{path} holds no structure; give a database with at least one row")


def write_database(path: Path, frames: list[Frame]) -> None:
    """A new database at ``path``; its type follows from the suffix. What ``atoms.info`` has goes into ``data``."""
    database = ase.db.connect(str(path), append=False)
    try:
        with database:
            for frame in frames:
                atoms = frame.to_atoms()
                database.write(atoms, data=_plain(atoms.info))
    finally:
        _close(database)


def _plain(info: dict[str, Any]) -> dict[str, Any]:
    """What a database keeps as it is; a space group, for one, comes from a reader of ASE and is none of it."""
    kinds = (str, bool, int, float, list, tuple, dict, np.generic, np.ndarray)
    return {name: value for name, value in info.items() if isinstance(value, kinds)}


def _connect(path: Path) -> Any:
    try:
        if path.suffix == ".aselmdb":
            return ase.db.connect(str(path), readonly=True, use_lock_file=False)
        return ase.db.connect(str(path), use_lock_file=False)
    except Exception as fault:
        raise UserError(
            f"{path} could not be opened as an ASE database ({fault}); check the file"
        ) from fault


def _atoms_of(row: Any) -> Atoms:
    atoms = row.toatoms()
    atoms.info.update(row.key_value_pairs)
    atoms.info.update(row.data)
    return atoms


def _close(database: Any) -> None:
    """Only the LMDB backend holds something open between calls."""
    if hasattr(database, "close"):
        database.close()
