"""Writing labelled frames: extxyz, ASE databases, DeePMD folders."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import ase.io

from janus_md.errors import UserError
from janus_md.folders import make_writable
from janus_md.io.databases import SUFFIXES, write_database
from janus_md.io.deepmd import write_deepmd
from janus_md.io.frames import Frame
from janus_md.io.unread_labels import as_keys, unread_labels


def write_frames(path: str | Path, frames: list[Frame]) -> None:
    """Write to ``.xyz``/``.extxyz``, ``.db``/``.aselmdb``, or, without a suffix, a DeePMD folder.

    The output appears whole or not at all, and never replaces what is there.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path} exists already; choose another name or remove it")
    if not frames:
        raise UserError(f"there is no frame to write to {path}; check the input")
    if path.suffix not in (".xyz", ".extxyz", *SUFFIXES, ""):
        raise UserError(
            f"{path} has a suffix that cannot be written; use .extxyz, .db, .aselmdb, or none for a DeePMD folder"
        )
    if path.suffix in (*SUFFIXES, ""):
        for frame in frames:
            _refuse_unread_labels(frame, path, everything=path.suffix == "")
    make_writable(path.parent)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        target = scratch / path.name
        if path.suffix in SUFFIXES:
            write_database(target, frames)
        elif path.suffix:
            ase.io.write(target, [frame.to_atoms() for frame in frames], format="extxyz")
        else:
            write_deepmd(target, frames)
        target.rename(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _refuse_unread_labels(frame: Frame, path: Path, everything: bool) -> None:
    """Raise where what looks like a label that the frame does not have would be lost at ``path``.

    Databases keep values of the whole structure by any name; ``everything``: a DeePMD folder keeps none.
    """
    found = unread_labels(frame)
    lost = {
        label: name for label, name in found.items() if everything or name in frame.atoms.arrays
    }
    if lost:
        raise UserError(
            f"{frame.where} has {' and '.join(lost.values())}, which {path} would lose: give {as_keys(found)} if these "
            "are its labels, or write .extxyz"
        )
