"""Reference energies of (task, element): isolated atoms where given, else ridge least squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from ase.data import atomic_numbers

from janus_md.io import Frame
from janus_md.io.frames import Floats

References: TypeAlias = dict[tuple[str, str], float]
"""eV of (task, element)."""

FIRST_RIDGE = 1e-6
"""In units of the mean square share of an element: where the estimate of the pull begins."""

RANK = 1e-13
"""In units of the largest eigenvalue of the normal matrix. What lies below, compositions do not decide:
a single molecule, an element that no frame has."""

SWEEPS = 3


def reference_energies(
    frames: Sequence[Frame], elements: list[str], isolated: References
) -> References:
    """{(task, element): eV} for every task of ``frames`` and every element.

    Elements that a task's isolated atoms give keep those values; the rest are fitted. An element that
    a task never shows gets the task's mean energy per atom.
    """
    table: References = {}
    for task in dict.fromkeys(frame.task for frame in frames):
        given = {symbol: e for (name, symbol), e in isolated.items() if name == task}
        members = [frame for frame in frames if frame.task == task and frame.energy is not None]
        fitted = fit_references(members, elements, given)
        table.update({(task, symbol): energy for symbol, energy in fitted.items()})
    return table


def fit_references(
    frames: Sequence[Frame], elements: list[str], given: dict[str, float]
) -> dict[str, float]:
    """Ridge least squares of the energy per atom on the composition; ``given`` values are held.

    Atoms of which these are given are bound all the same: a common energy of theirs, by which frames lie below
    isolated atoms, is fitted, too, and kept out of the others' values. All zero (but for ``given``) where no frame has
    an energy.
    """
    table = dict.fromkeys(elements, 0.0) | {s: e for s, e in given.items() if s in elements}
    free = [symbol for symbol in elements if symbol not in given]
    labelled = [frame for frame in frames if frame.energy is not None]
    if not labelled or not free:
        return table
    shares = np.array([_composition(frame, elements) for frame in labelled])
    energies = np.array([frame.energy / len(frame.atoms) for frame in labelled])  # type: ignore[operator]
    held = np.array([symbol in given for symbol in elements])
    energies = energies - shares[:, held] @ np.array([table[s] for s in elements])[held]
    design = shares[:, ~held]
    weight = design.sum(axis=1)
    mean, bound = _means(energies, weight)
    change = _ridge(design, energies - weight * mean - (1.0 - weight) * bound)
    return table | {symbol: mean + float(d) for symbol, d in zip(free, change, strict=True)}


def _means(energies: Floats, share: Floats) -> tuple[float, float]:
    """Energy of an atom of a ``share`` of each frame, and of the rest; zero of the rest where all shares are equal."""
    pull = np.sqrt(FIRST_RIDGE) * np.linalg.norm(1.0 - share)
    design = np.vstack([np.stack([share, 1.0 - share], axis=1), [0.0, pull]])
    mean, bound = np.linalg.lstsq(design, np.append(energies, 0.0))[0]
    return float(mean), float(bound)


def spread_beyond(frames: Sequence[Frame], references: References) -> float:
    """Root mean square of what ``references`` leave of the energies, eV per atom; 0 without energies."""
    rest = [
        (frame.energy - sum(references[frame.task, s] for s in frame.atoms.symbols))
        / len(frame.atoms)
        for frame in frames
        if frame.energy is not None
    ]
    return float(np.sqrt(np.mean(np.square(rest)))) if rest else 0.0


def _ridge(design: Floats, target: Floats) -> Floats:
    """Least squares with the coefficients pulled to zero.

    The pull is the ratio of the variances of residual and coefficients, found by repetition (empirical
    Bayes): energies that compositions explain are fitted as they are, noisy ones do not give an element
    that occurs once or twice a reference energy far from all others. Combinations of elements that
    compositions do not decide stay at zero.
    """
    normal = design.T @ design
    values, axes = np.linalg.eigh(normal)
    decided = values > RANK * values[-1]
    values, axes = values[decided], axes[:, decided]
    along = axes.T @ (design.T @ target)
    pull = FIRST_RIDGE * float(np.trace(normal)) / len(normal)
    for _ in range(SWEEPS):
        found: Floats = axes @ (along / (values + pull))
        noise = float(np.mean((target - design @ found) ** 2))
        spread = float(np.mean(found**2))
        pull = noise / spread if spread > 0 else 0.0
    return found


def _composition(frame: Frame, elements: list[str]) -> np.ndarray:
    counts = np.bincount(frame.atoms.numbers, minlength=120)
    return counts[[atomic_numbers[symbol] for symbol in elements]] / len(frame.atoms)
