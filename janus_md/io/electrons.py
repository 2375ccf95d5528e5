"""Total charge (e) and spin multiplicity of a structure, as ``atoms.info`` states them."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from janus_md.errors import UserError


def electrons(atoms: Atoms, where: str = "") -> tuple[float, float]:
    """``info["charge"]`` and ``info["spin"]``, zero where absent; arrays that hold one number count as it.

    Raises ``UserError`` for anything that is not a finite number; ``where`` names the structure in its
    sentence, by the formula if left out.
    """
    charge, spin = (_number(atoms, name, where) for name in ("charge", "spin"))
    return charge, spin


def _number(atoms: Atoms, name: str, where: str) -> float:
    value = atoms.info.get(name, 0.0)
    try:
        number = float(np.asarray(value, dtype=np.float64).reshape(()))
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise UserError(
            f"info['{name}'] of {where or atoms.get_chemical_formula()} is {value!r}: give a finite number"
        )
    return number
