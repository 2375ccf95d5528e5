"""Labelled structures made on the spot."""

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.stress import voigt_6_to_full_3x3_stress

from janus_md.io import Frame


def metals(count: int, seed: int = 0) -> list[Frame]:
    """Rattled, strained cells of Cu and Au with energies, forces and stresses of EMT."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True) if rng.random() < 0.5 else bulk("Au", cubic=True)
        atoms.symbols[0] = str(rng.choice(["Cu", "Au"]))
        atoms.set_cell(atoms.cell.array * rng.uniform(0.95, 1.05), scale_atoms=True)
        atoms.rattle(0.1, rng=rng)
        atoms.calc = EMT()
        stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
        frame = Frame(atoms, atoms.get_potential_energy(), atoms.get_forces(), stress)
        atoms.calc = None
        frames.append(frame)
    return frames
