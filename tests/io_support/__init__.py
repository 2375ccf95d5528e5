"""Structures with random labels."""

import numpy as np
from ase import Atoms

from janus_md.io import Frame


def labelled(atoms: Atoms, seed: int) -> Frame:
    """With an energy and forces, and a stress where it is periodic along all directions."""
    rng = np.random.default_rng(seed)
    stress = rng.normal(size=(3, 3))
    return Frame(
        atoms,
        energy=float(rng.normal()),
        forces=rng.normal(size=(len(atoms), 3)),
        stress=stress + stress.T if atoms.pbc.all() else None,
    )
