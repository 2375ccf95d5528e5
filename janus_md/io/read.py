"""One function that reads any supported file or folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from janus_md.errors import UserError
from janus_md.io.ase_files import read_ase_file
from janus_md.io.ase_labels import LabelKeys
from janus_md.io.databases import SUFFIXES, database_files, read_database
from janus_md.io.deepmd import deepmd_systems, read_deepmd
from janus_md.io.frames import Frame


def iterate_frames(
    path: str | Path, task: str = "", keys: LabelKeys | None = None
) -> Iterator[Frame]:
    """Checked frames of a structure file, a database, a folder of databases or DeePMD data.

    Raises ``UserError`` naming the file and frame where something is missing, damaged or not finite.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist; correct the path")
    if path.is_dir():
        yield from _iterate_folder(path, task, keys)
    elif path.suffix in (*SUFFIXES, ".json"):
        yield from read_database(path, keys, task)
    else:
        yield from read_ase_file(path, keys, task)


def read_frames(path: str | Path, task: str = "", keys: LabelKeys | None = None) -> list[Frame]:
    """``iterate_frames`` as a list."""
    return list(iterate_frames(path, task, keys))


def _iterate_folder(path: Path, task: str, keys: LabelKeys | None) -> Iterator[Frame]:
    systems = deepmd_systems(path)
    databases = [] if systems else database_files(path)
    if not systems and not databases:
        raise UserError(
            f"{path} is a folder with neither DeePMD data (type.raw) nor ASE databases ({', '.join(SUFFIXES)}); "
            "name a file"
        )
    if systems and (others := _structure_files(path)):
        raise UserError(
            f"{path} holds DeePMD data (type.raw) and {others[0].name}; name one of them"
        )
    for system in systems:
        yield from read_deepmd(system, keys, task)
    for database in databases:
        yield from read_database(database, keys, task)


def _structure_files(folder: Path) -> list[Path]:
    endings = {".extxyz", ".xyz", *SUFFIXES}
    return sorted(file for file in folder.rglob("*") if file.suffix in endings)
