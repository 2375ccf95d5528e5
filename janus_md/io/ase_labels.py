"""Labels out of an ``ase.Atoms`` object, as a reader of ASE leaves them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.io.extxyz import per_atom_properties, per_config_properties
from ase.stress import voigt_6_to_full_3x3_stress

from janus_md.errors import UserError, nearest
from janus_md.io.electrons import electrons
from janus_md.io.frames import LABELS, Floats, Frame, check


@dataclass(frozen=True)
class LabelKeys:
    """Where labels are kept. ``None`` (the default) is ASE's place: the attached calculator's results.

    A name is looked up in ``atoms.info`` and ``atoms.arrays`` (``energy="REF_energy"``); the word
    ``"ignore"`` leaves that label out. ``virial`` (eV, positive under pressure) is read in place of the stress.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    magmoms: str | None = None

    def __post_init__(self) -> None:
        if self.stress is not None and "virial" in self.stress.lower():
            raise UserError(
                f"stress={self.stress} would read a virial (eV) as a stress (eV/Å³); write virial={self.stress}"
            )
        if self.virial is not None and self.stress is not None:
            raise UserError(
                f"stress={self.stress} and virial={self.virial} both give the stress; keep one"
            )


def frame_from_atoms(
    atoms: Atoms, keys: LabelKeys | None = None, task: str = "", source: str = "", index: int = 0
) -> Frame:
    """A checked ``Frame``; the atoms keep their arrays and info but lose the calculator.

    Results of it that are no labels, such as a dipole, go where ASE's reader found them.
    """
    keys = keys or LabelKeys()
    where = f"{source}, frame {index}"
    energy = _label(atoms, "energy", keys.energy, where)
    charge, spin = electrons(atoms, where)
    frame = Frame(
        atoms=atoms,
        energy=None if energy is None else _number(energy, "energy", where),
        forces=_array(_label(atoms, "forces", keys.forces, where), "forces", where),
        stress=_stress(atoms, keys, where),
        magmoms=_array(_label(atoms, "magmoms", keys.magmoms, where), "magmoms", where),
        charge=charge,
        spin=spin,
        task=task or str(atoms.info.get("task", "")),
        source=source,
        index=index,
    )
    _keep_other_results(atoms)
    atoms.calc = None
    return check(frame)


def _keep_other_results(atoms: Atoms) -> None:
    for name, value in ({} if atoms.calc is None else atoms.calc.results).items():
        if value is None or name in LABELS:
            continue
        if name in per_config_properties:
            atoms.info.setdefault(name, value)
        elif name in per_atom_properties and np.ndim(value) <= 2:  # of more, extxyz has no columns
            atoms.arrays.setdefault(name, np.asarray(value))


def _label(atoms: Atoms, name: str, key: str | None, where: str) -> object | None:
    if key == "ignore":
        return None
    if key is None:
        return None if atoms.calc is None else atoms.calc.results.get(name)
    if key in atoms.info:
        return atoms.info[key]
    if key in atoms.arrays:
        return atoms.arrays[key]
    if atoms.calc is not None and key in atoms.calc.results:
        return atoms.calc.results[key]
    known = [*atoms.info, *atoms.arrays]
    raise UserError(
        f"{where} has no '{key}' to read as {name}{nearest(key, known)}; correct the key"
    )


def _number(value: object, name: str, where: str) -> float:
    try:
        return float(np.asarray(value, dtype=np.float64).reshape(()))
    except (TypeError, ValueError):
        raise UserError(f"{where}: '{name}' is {value!r}, which is not a number; mend it") from None


def _array(value: object, name: str, where: str) -> Floats | None:
    if value is None:
        return None
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{where}: '{name}' does not consist of numbers; mend it") from None


def _stress(atoms: Atoms, keys: LabelKeys, where: str) -> Floats | None:
    if keys.virial is None:
        return _matrix(_label(atoms, "stress", keys.stress, where), "stress", where)
    virial = _matrix(_label(atoms, "virial", keys.virial, where), "virial", where)
    if virial is None:
        return None
    if not atoms.pbc.all():
        raise UserError(
            f"{where} has a virial but no volume, not being periodic in three directions; give virial=ignore"
        )
    return -virial / atoms.get_volume()


def _matrix(value: object, name: str, where: str) -> Floats | None:
    """[3, 3] of what has 9 numbers or, in Voigt's order, 6."""
    numbers = _array(value, name, where)
    if numbers is None:
        return None
    if numbers.size == 9:
        return numbers.reshape(3, 3)
    if numbers.size == 6:
        full: Floats = voigt_6_to_full_3x3_stress(numbers)
        return full
    raise UserError(f"{where}: '{name}' has {numbers.size} numbers where 6 or 9 are due; mend it")
