"""Relaxation through ASE: FIRE on positions, and on the cell through its Frechet filter.

FIRE goes downhill whatever the curvature; ASE's L-BFGS, which takes no line search, can climb to a saddle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from janus_md.errors import UserError


@dataclass(frozen=True)
class Relaxed:
    """Outcome of a relaxation: energy in eV, fmax in eV/Å (positions only), largest stress in eV/Å³ with the cell."""

    atoms: Atoms
    converged: bool
    steps: int
    energy: float
    fmax: float
    stress: float | None


def relax(
    atoms: Atoms,
    cell: bool = False,
    fmax: float = 0.02,
    steps: int = 500,
    report: Callable[[str], None] | None = None,
) -> Relaxed:
    """Relax a copy of ``atoms`` with its calculator.

    ``fmax`` in eV/Å; with ``cell`` the stress is driven to zero too (three periodic directions are
    needed, else ``UserError``). ``report`` receives one line every ten steps.
    """
    if cell and not atoms.pbc.all():
        raise UserError(
            f"relaxing the cell of {atoms.get_chemical_formula()} needs three periodic directions:"
            " leave out --cell or set pbc"
        )
    moved = atoms.copy()
    moved.calc = atoms.calc
    optimiser = FIRE(FrechetCellFilter(moved) if cell else moved, logfile=None)
    if report is not None:
        optimiser.attach(_reporter(optimiser, moved, cell, report), interval=1)
    converged = bool(optimiser.run(fmax=fmax, steps=steps))
    largest = float(np.linalg.norm(moved.get_forces(), axis=1).max())
    stress = float(np.abs(moved.get_stress()).max()) if cell else None
    energy = float(moved.get_potential_energy())
    return Relaxed(moved, converged, optimiser.nsteps, energy, largest, stress)


def _reporter(
    optimiser: FIRE, atoms: Atoms, cell: bool, report: Callable[[str], None]
) -> Callable[[], None]:
    def write() -> None:
        if optimiser.nsteps % 10 == 0:
            largest = np.linalg.norm(atoms.get_forces(), axis=1).max()
            energy = atoms.get_potential_energy()
            stress = (
                f"  largest stress {np.abs(atoms.get_stress()).max():.5f} eV/Å³" if cell else ""
            )
            report(
                f"step {optimiser.nsteps:5d}  energy {energy:.6f} eV  fmax {largest:.4f} eV/Å{stress}"
            )

    return write
