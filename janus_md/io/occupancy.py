"""Partly occupied sites of a CIF: ASE makes an ordered structure of them, which is another one."""

from __future__ import annotations

from ase import Atoms

from janus_md.errors import UserError

ROUNDING = 1e-3
"""Of occupancies that are stated."""


def refuse_disorder(atoms: Atoms, source: str) -> None:
    """Raise ``UserError`` where ASE has noted that a site has several elements or is at times empty."""
    occupancy = atoms.info.get("occupancy")
    if not isinstance(occupancy, dict):
        return
    for shares in occupancy.values():
        if len(shares) > 1 or min(shares.values()) < 1.0 - ROUNDING:
            found = " ".join(f"{symbol} {share:g}" for symbol, share in shares.items())
            raise UserError(
                f"{source} has a partly occupied site ({found}); order it first, without info['occupancy']"
            )
