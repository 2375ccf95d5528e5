"""What the driver tells a method and gets back; runs in any interpreter with numpy and ASE.

A script of a method is called as ``python run_X.py train JOB.json`` and ``python run_X.py evaluate JOB.json``.
Everything it leaves lies in the folder of the job:

    snapshots/0003.214.*   weights, named by the minutes since the process was started
    pace.json              seconds of set-up and per epoch, where the job only measures these
    facts.json             settings and versions, written by the script
    points.json            errors of the snapshots on the test frames
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
from errors import errors

FRACTIONS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
"""Shares of the time after which weights are kept, besides those at its end."""

FEWEST = 20
"""Steps after which a pace is believed."""

Prediction = tuple[float, Any]
"""Energy in eV and forces [atoms, 3] in eV/Å of one structure."""


@dataclass(frozen=True)
class Job:
    """One method on one case. ``started`` is the clock at the start of the process, seconds."""

    case: str
    method: str
    data: str
    folder: str
    minutes: float
    started: float
    threads: int
    seed: int
    epochs: int | None
    """What the learning-rate schedule is laid out for; None where the job only measures the pace."""
    pace_seconds: float
    elements: list[str]
    references: dict[str, float]
    """Energies of the elements (eV), fitted to the training frames."""
    count: dict[str, int]
    """Number of structures in train, valid and test."""
    recipe: str

    def file(self, part: str) -> Path:
        """Absolute, because some peers change their working directory."""
        return Path(self.data) / f"{part}.extxyz"

    @property
    def snapshots(self) -> Path:
        return Path(self.folder) / "snapshots"

    def write(self, name: str, content: Any) -> None:
        (Path(self.folder) / name).write_text(json.dumps(content, indent=2) + "\n")


class OutOfTime(Exception):
    """Raised inside a peer's training loop to leave it."""


class Pacer:
    """Watches a training loop: keeps weights after shares of the time and ends it when the time is over."""

    def __init__(self, job: Job, batch_size: int) -> None:
        self._job = job
        self._steps_per_epoch = math.ceil(job.count["train"] / batch_size)
        self._due = [job.minutes * fraction for fraction in FRACTIONS]
        self._steps = 0
        self._times: list[float] = []
        job.snapshots.mkdir(parents=True, exist_ok=True)

    @property
    def minutes(self) -> float:
        return (time.time() - self._job.started) / 60.0

    def step(self, save: Callable[[Path], None]) -> None:
        """To be called after every step; ``save`` writes the weights to the path it is given (without a suffix).

        Raises ``OutOfTime`` once the time is over, after keeping the last weights.
        """
        self._steps += 1
        if self._job.epochs is None:
            self._measure()
        elif self.minutes >= self._job.minutes:
            self.finish(save)
        elif self._due and self.minutes >= self._due[0]:
            self._due = [moment for moment in self._due if moment > self.minutes]
            save(self._path())

    def finish(self, save: Callable[[Path], None]) -> None:
        """Keep the last weights and leave the loop; also for a schedule that ends before the time does."""
        save(self._path())
        self._job.write("end.json", {"steps": self._steps, "minutes": round(self.minutes, 3)})
        raise OutOfTime

    def _path(self) -> Path:
        return self._job.snapshots / f"{self.minutes:08.3f}"

    def _measure(self) -> None:
        """Take the second half of the steps: the first ones of compiled models are many times slower than the rest."""
        self._times.append(time.time())
        if self._times[-1] - self._times[0] < self._job.pace_seconds or len(self._times) < FEWEST:
            return
        half = self._times[len(self._times) // 2 :]
        seconds = (half[-1] - half[0]) / (len(half) - 1)
        set_up = self._times[-1] - self._job.started - len(self._times) * seconds
        pace = {"set_up_s": max(0.0, set_up), "epoch_s": seconds * self._steps_per_epoch}
        self._job.write("pace.json", pace)
        raise OutOfTime


def main(
    packages: Sequence[str],
    train: Callable[[Job], dict[str, Any]],
    evaluator: Callable[[Job], Callable[[Path], list[Prediction]]],
) -> None:
    """Do what the command line asks for.

    ``train`` returns its settings; ``evaluator`` a function from a snapshot to predictions for all test structures.
    """
    if len(sys.argv) != 3:
        sys.exit(f"{Path(sys.argv[0]).name}: is started by compare.py; start that")
    job = Job(**json.loads(Path(sys.argv[2]).read_text()))
    if sys.argv[1] == "train":
        settings = train(job)
        versions = {name: importlib.metadata.version(name) for name in packages}
        job.write("facts.json", {"versions": versions, "settings": settings})
    else:
        _evaluate(job, evaluator(job))


def test_frames(job: Job) -> list[ase.Atoms]:
    return ase.io.read(job.file("test"), ":")


def with_calculator(calculator: Any, job: Job) -> list[Prediction]:
    """Predictions of an ASE calculator for the test structures, one after the other."""
    found = []
    for atoms in test_frames(job):
        atoms.calc = calculator
        found.append((atoms.get_potential_energy(), atoms.get_forces()))
    return found


def _evaluate(job: Job, predict: Callable[[Path], list[Prediction]]) -> None:
    frames = test_frames(job)
    energies = [atoms.get_potential_energy() for atoms in frames]
    forces = [atoms.get_forces() for atoms in frames]
    points = []
    for path in sorted(job.snapshots.iterdir()):
        found = predict(path)
        scores = errors([e for e, _ in found], [f for _, f in found], energies, forces)
        points.append({"minutes": float(path.name[:8])} | scores)
        print(points[-1], flush=True)
    job.write("points.json", points)
