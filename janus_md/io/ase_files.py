"""Every file that ``ase.io`` reads: extxyz first, then VASP, CIF, trajectories, …"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ase.io
from ase.io.formats import UnknownFileTypeError

from janus_md.errors import UserError
from janus_md.io.ase_labels import LabelKeys, frame_from_atoms
from janus_md.io.frames import Frame
from janus_md.io.lammps_types import refuse_nameless_types
from janus_md.io.occupancy import refuse_disorder


def read_ase_file(path: Path, keys: LabelKeys | None = None, task: str = "") -> Iterator[Frame]:
    """Frames of one file, one at a time, numbered from 0."""
    index = 0
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{path} is empty: it holds no structure")
    try:
        stream = ase.io.iread(str(path), index=":", do_not_split_by_at_sign=True)
        cif = path.suffix.lower() in (".cif", ".mcif")
        for atoms in stream:
            if cif:  # elsewhere it is a note on where a structure comes from
                refuse_disorder(atoms, str(path))
            if not index:
                refuse_nameless_types(atoms, path)
            yield frame_from_atoms(atoms, keys, task, str(path), index)
            index += 1
    except UserError:
        raise
    except UnknownFileTypeError:
        raise UserError(
            f"{path} is in a format that ASE does not recognise; convert it to extxyz"
        ) from None
    except Exception as fault:  # ASE's readers raise anything at all on a damaged file
        reason = str(fault).strip().splitlines()
        raise UserError(
            f"{path}, frame {index} could not be read ({reason[0] if reason else type(fault).__name__}); "
            "the file may be truncated or damaged"
        ) from fault
    if not index:
        raise UserError(f"{path} holds no structure; give a file with at least one frame")
