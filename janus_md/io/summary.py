"""What a data file holds, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from ase.data import atomic_numbers

from janus_md.io.frames import LABELS, Frame
from janus_md.io.unread_labels import WORDS

UNITS = {
    "smallest": "atoms", "largest": "atoms", "periodic": "frames", "elements": "frames", "labels": "frames",
    "names_like_labels": "frames", "tasks": "frames", "energy_mean": "eV/atom", "energy_std": "eV/atom",
    "force_rms": "eV/Å", "force_max": "eV/Å", "stress_rms": "eV/Å³", "stress_max": "eV/Å³",
    "volume_mean": "Å³/atom",
}  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """Counts over the frames of a file: ``elements``, ``labels``, ``tasks`` and names count frames that have each.

    ``names_like_labels``: of ``atoms.info`` and ``atoms.arrays``, which are read as labels if keys say so.
    """

    frames: int
    atoms: int
    smallest: int
    largest: int
    periodic: int
    elements: dict[str, int]
    labels: dict[str, int]
    names_like_labels: dict[str, int]
    tasks: dict[str, int]


@dataclass(frozen=True)
class Statistics:
    """Spread of the labels, in ``UNITS``. None where no frame has the label."""

    energy_mean: float | None
    energy_std: float | None
    force_rms: float | None
    force_max: float | None
    stress_rms: float | None
    stress_max: float | None
    volume_mean: float | None


def summarise(frames: Iterable[Frame]) -> Summary:
    """Count frames, atoms, elements, labels and tasks."""
    sizes: list[int] = []
    elements: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    alike: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    periodic = 0
    for frame in frames:
        sizes.append(len(frame.atoms))
        elements.update(set(frame.atoms.symbols))
        labels.update(name for name in LABELS if getattr(frame, name) is not None)
        kept = (*frame.atoms.info, *frame.atoms.arrays)
        alike.update(name for name in kept if any(word in name.lower() for word in WORDS))
        tasks.update([frame.task] if frame.task else [])
        periodic += bool(frame.atoms.pbc.all())
    return Summary(
        frames=len(sizes),
        atoms=sum(sizes),
        smallest=min(sizes, default=0),
        largest=max(sizes, default=0),
        periodic=periodic,
        elements={s: elements[s] for s in sorted(elements, key=atomic_numbers.__getitem__)},
        labels=dict(labels),
        names_like_labels=dict(alike),
        tasks=dict(tasks),
    )


def statistics(frames: Sequence[Frame]) -> Statistics:
    """Mean, spread and extremes of the labels."""
    energies = [f.energy / len(f.atoms) for f in frames if f.energy is not None]
    forces = [f.forces for f in frames if f.forces is not None]
    stresses = [f.stress for f in frames if f.stress is not None]
    volumes = [f.volume / len(f.atoms) for f in frames if f.volume > 0]
    every_force = np.concatenate(forces) if forces else None
    every_stress = np.stack(stresses) if stresses else None
    return Statistics(
        energy_mean=float(np.mean(energies)) if energies else None,
        energy_std=float(np.std(energies)) if energies else None,
        force_rms=None if every_force is None else float(np.sqrt((every_force**2).mean())),
        force_max=None if every_force is None else float(np.linalg.norm(every_force, axis=1).max()),
        stress_rms=None if every_stress is None else float(np.sqrt((every_stress**2).mean())),
        stress_max=None if every_stress is None else float(np.abs(every_stress).max()),
        volume_mean=float(np.mean(volumes)) if volumes else None,
    )


def as_lines(summary: Summary | Statistics) -> list[str]:
    """``name: value unit`` for a terminal; counts by name side by side."""
    lines = []
    for name, value in asdict(summary).items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} in {count}" for key, count in value.items())
        elif isinstance(value, float):
            value = f"{value:.6g}"
        text = "none" if value in (None, "") else f"{value} {UNITS.get(name, '')}".rstrip()
        lines.append(f"{name.replace('_', ' ')}: {text}")
    return lines
