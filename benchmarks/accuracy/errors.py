"""Errors of energy and forces, the same for every method; needs nothing but numpy, so any interpreter runs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def errors(
    energies: Sequence[float],
    forces: Sequence[ArrayLike],
    true_energies: Sequence[float],
    true_forces: Sequence[ArrayLike],
) -> dict[str, float]:
    """Mean absolute errors over a set of structures.

    ``energies`` eV per structure, ``forces`` [atoms, 3] eV/Å per structure. Returns ``energy_mae`` in meV/atom, the
    mean over structures, and ``force_mae`` in meV/Å, the mean over all components of all atoms. A prediction that
    is not finite makes the error infinite. Raises ``ValueError`` where shapes differ.
    """
    pairs = [(np.asarray(f), np.asarray(t)) for f, t in zip(forces, true_forces, strict=True)]
    if any(found.shape != true.shape for found, true in pairs):
        raise ValueError("predicted and true forces differ in shape")
    sizes = np.array([len(true) for _, true in pairs])
    energy = np.subtract(energies, true_energies, dtype=np.float64) / sizes
    force = np.concatenate([np.subtract(f, t, dtype=np.float64).ravel() for f, t in pairs])
    return {"energy_mae": _mean(energy), "force_mae": _mean(force)}


def _mean(differences: np.ndarray) -> float:
    value = 1000.0 * float(np.abs(differences).mean())
    return value if np.isfinite(value) else float("inf")
