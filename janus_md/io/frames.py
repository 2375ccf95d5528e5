"""One structure with whatever labels it has.

Units are ASE's: Å, eV, eV/Å, eV/Å³, Bohr magnetons. Stress is a symmetric 3x3 matrix with ASE's sign
(positive under tension). A label that a file does not give is ``None``, never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from janus_md.errors import UserError
from janus_md.io.results import drop_doubles

Floats = NDArray[np.float64]

LABELS = ("energy", "forces", "stress", "magmoms")
"""Those of a frame, by their names there and among ASE's results."""


@dataclass(slots=True)
class Frame:
    """A structure, its labels, and where it came from (for messages).

    ``energy`` eV of the whole structure; ``forces`` [N, 3]; ``stress`` [3, 3]; ``magmoms`` [N];
    ``charge`` in e; ``spin`` as the data set states it (OMol25: the multiplicity); ``task`` the name of
    the data set or functional, empty until one is given.
    """

    atoms: Atoms
    energy: float | None = None
    forces: Floats | None = None
    stress: Floats | None = None
    magmoms: Floats | None = None
    charge: float = 0.0
    spin: float = 0.0
    task: str = ""
    source: str = ""
    index: int = 0

    @property
    def where(self) -> str:
        """``file, frame 3`` for messages; frames count from 0, as ASE does."""
        return f"{self.source}, frame {self.index}" if self.source else f"frame {self.index}"

    @property
    def facts(self) -> dict[str, float | str]:
        """Charge, spin and task by name, those that are given."""
        facts: dict[str, float | str] = {
            "charge": self.charge,
            "spin": self.spin,
            "task": self.task,
        }
        return {name: value for name, value in facts.items() if value}

    @property
    def volume(self) -> float:
        """Å³; 0 where the structure is not periodic in all three directions."""
        return abs(float(np.linalg.det(self.atoms.cell.array))) if self.atoms.pbc.all() else 0.0

    @property
    def max_force(self) -> float:
        """The largest force on an atom (norm, eV/Å); 0 where forces are not labelled."""
        if self.forces is None or not len(self.forces):
            return 0.0
        return float(np.linalg.norm(self.forces, axis=1).max())

    def to_atoms(self) -> Atoms:
        """A copy as ASE's own readers would give it, labels in a ``SinglePointCalculator``."""
        atoms = self.atoms.copy()
        labels: dict[str, object] = {
            "energy": self.energy,
            "forces": self.forces,
            "magmoms": self.magmoms,
        }
        if self.stress is not None:
            labels["stress"] = full_3x3_to_voigt_6_stress(self.stress)
        known = {name: value for name, value in labels.items() if value is not None}
        if known:
            atoms.calc = SinglePointCalculator(atoms, **known)
        atoms.info.update(self.facts)
        drop_doubles(atoms)
        return atoms


def check(frame: Frame) -> Frame:
    """The frame itself, or ``UserError`` naming file and frame.

    Raises where there are no atoms or one is of no element, where a position or label is not finite or has the wrong
    shape, and where a stress label comes with a volume that is not positive.
    """
    count = len(frame.atoms)
    if not count:
        raise UserError(f"{frame.where} holds no atoms; remove it")
    if not frame.atoms.numbers.all():
        place = int(np.argmin(frame.atoms.numbers))
        raise UserError(
            f"{frame.where} has an atom of no element (X), number {place}; name its element"
        )
    if (
        not np.isfinite(frame.atoms.positions).all()
        or not np.isfinite(frame.atoms.cell.array).all()
    ):
        raise UserError(
            f"{frame.where} has a position or cell that is not a finite number; mend it"
        )
    shapes = {"energy": (), "forces": (count, 3), "stress": (3, 3), "magmoms": (count,)}
    for name, shape in shapes.items():
        value = getattr(frame, name)
        if value is None:
            continue
        if np.shape(value) != shape:
            raise UserError(
                f"{frame.where}: label '{name}' has shape {np.shape(value)} where {shape} is due; mend it"
            )
        if not np.isfinite(value).all():
            raise UserError(
                f"{frame.where}: label '{name}' is NaN or infinite; remove the frame or the label"
            )
    if frame.stress is not None and not frame.volume > 1e-6:
        raise UserError(
            f"{frame.where} has a stress label but no positive volume; give it a cell periodic in three "
            "directions or remove the label"
        )
    return frame
