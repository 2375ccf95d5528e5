"""Labelled structures made on the spot, and what two runs with them are compared by."""

from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.stress import voigt_6_to_full_3x3_stress

from janus_md.io import Frame
from janus_training.metrics import read_metrics

NOT_COMPARED = ("minutes",)


def metals(
    count: int, seed: int = 0, scale: tuple[float, float] = (0.95, 1.05), rattle: float = 0.1
) -> list[Frame]:
    """Cells of Cu and Au, scaled and rattled (Å), with energies, forces and stresses of EMT."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True) if rng.random() < 0.5 else bulk("Au", cubic=True)
        atoms.symbols[0] = str(rng.choice(["Cu", "Au"]))
        atoms.set_cell(atoms.cell.array * rng.uniform(*scale), scale_atoms=True)
        atoms.rattle(rattle, rng=rng)
        atoms.calc = EMT()
        stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
        frame = Frame(atoms, atoms.get_potential_energy(), atoms.get_forces(), stress)
        atoms.calc = None
        frames.append(frame)
    return frames


def rows_of(run: Path) -> list[dict[str, Any]]:
    """All metrics but the clock; floats as written, so equal means equal to the last bit."""
    return [{k: v for k, v in row.items() if k not in NOT_COMPARED} for row in read_metrics(run)]
