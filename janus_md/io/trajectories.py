"""Trajectories written frame by frame, in every format of ASE's that holds several frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from janus_md.errors import UserError
from janus_md.io.results import drop_doubles
from janus_md.io.structures import try_to_write

# Formats whose files grow frame by frame; of the others all frames are kept until the end.
_APPENDED = {"extxyz", "xyz"}


class TrajectoryWriter:
    """Writes frames with their energies and forces to ``path``; use it as a context.

    Raises ``UserError`` for an ending that is unknown or holds a single structure.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.frames = 0
        self.format = _multi_frame_format(self.path)
        self._kept: list[Atoms] = []
        self._binary: Any = None

    def __enter__(self) -> TrajectoryWriter:
        return self

    def write(self, atoms: Atoms) -> None:
        """Append a copy of ``atoms`` with the results its calculator holds.

        Raises ``UserError`` with the first one where the format cannot hold it.
        """
        frame = atoms.copy()
        if atoms.calc is not None:
            frame.calc = SinglePointCalculator(frame, **_plain_results(atoms))
            drop_doubles(frame)
        if self.format == "traj":
            self._binary = self._binary or ase.io.Trajectory(self.path, "w")
            self._binary.write(frame)
        elif self.format in _APPENDED:
            ase.io.write(self.path, frame, format=self.format, append=self.frames > 0)
        else:
            if not self._kept:  # or the end, which writes them all, would lose them
                try_to_write(self.path, frame, lambda file: self._write_all(file, [frame, frame]))
            self._kept.append(frame)
        self.frames += 1

    def __exit__(self, *error: object) -> None:
        if self._binary is not None:
            self._binary.close()
        if self._kept:
            self._write_all(self.path, self._kept)

    def _write_all(self, path: Path, frames: list[Atoms]) -> None:
        ase.io.write(path, frames, format=self.format)


def _plain_results(atoms: Atoms) -> dict[str, object]:
    keep = ("energy", "free_energy", "forces", "stress", "magmoms")
    return {name: atoms.calc.results[name] for name in keep if name in atoms.calc.results}


def _multi_frame_format(path: Path) -> str:
    try:
        name = filetype(path.name, read=False)
    except UnknownFileTypeError as error:
        raise UserError(
            f"no trajectory format is known for {path.name}: choose .traj or .extxyz"
        ) from error
    if name not in ioformats or ioformats[name].single or not ioformats[name].can_write:
        raise UserError(f"{path.name} cannot hold several frames: choose .traj or .extxyz")
    return str(name)
