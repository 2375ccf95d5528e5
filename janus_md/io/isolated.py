"""Reference energies from a file of isolated atoms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from janus_md.errors import UserError
from janus_md.io.ase_labels import LabelKeys
from janus_md.io.read import iterate_frames


def read_isolated_atoms(path: str | Path, keys: LabelKeys | None = None) -> dict[str, float]:
    """{symbol: energy in eV} from a file whose frames hold one atom each.

    Of ``keys`` only that of the energy counts: such files often have no other label.
    Raises ``UserError`` for a frame with more atoms, one without an energy, or an element given twice.
    """
    energies: dict[str, float] = {}
    energy_only = replace(
        keys or LabelKeys(), forces="ignore", stress="ignore", virial=None, magmoms="ignore"
    )
    for frame in iterate_frames(path, keys=energy_only):
        if len(frame.atoms) != 1:
            raise UserError(
                f"{frame.where} holds {len(frame.atoms)} atoms; an isolated atom has one"
            )
        if frame.energy is None:
            raise UserError(
                f"{frame.where} has no energy; an isolated atom gives a reference energy"
            )
        symbol = frame.atoms.get_chemical_symbols()[0]
        if symbol in energies:
            raise UserError(
                f"{frame.where} gives {symbol} a second time; keep one frame per element"
            )
        energies[symbol] = frame.energy
    return energies
