"""Empty space between atoms, closed before a search for neighbours that goes through all of it.

A search by cells costs what the box around the atoms holds: an atom that a molecule has lost makes it slow and, far
enough away, ends the process. Atoms on two sides of a gap that is wider than the cutoff are no neighbours, and none
once the gap is closed to just more than the cutoff.
"""

from __future__ import annotations

import numpy as np

WIDER = 1.001
"""Width of a closed gap in cutoffs: more than 1 by what the rounding of positions far away leaves in doubt."""


def close_gaps(
    positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray, cutoff: float
) -> np.ndarray:
    """``positions`` (Å, [N, 3]) with no gap wider than ``WIDER`` cutoffs across the periodic cell vectors.

    Neighbours stay in place relative to each other. Where there is nothing to close the array is the one given.
    """
    moved = positions
    for direction in free_directions(cell, pbc):
        heights = positions @ direction
        order = np.argsort(heights, kind="stable")
        excess = np.diff(heights[order]) - WIDER * cutoff
        if (excess > 0).any():
            lower = np.zeros(len(heights))
            lower[order[1:]] = np.cumsum(np.maximum(excess, 0))
            moved = moved - lower[:, None] * direction
    return moved


def free_directions(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Unit vectors at right angles to each other and to the periodic rows of ``cell``, [3 - periodic rows, 3]."""
    _, _, directions = np.linalg.svd(periodic_rows(cell, pbc))
    return directions[np.count_nonzero(pbc) :]


def periodic_rows(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """``cell`` with zeros for the rows that repeat nothing, [3, 3]: what they hold has no meaning."""
    return np.where(np.asarray(pbc, dtype=bool)[:, None], cell, 0.0)
