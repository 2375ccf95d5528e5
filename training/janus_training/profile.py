"""A trace and a picture of a few steps: ``RUN/profile/``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from janus_training.parallel.ledger import BETWEEN, PHASES
from janus_training.parallel.mesh import Mesh

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = "profile"
WARM_UP = 2
"""Steps before the first one that is recorded."""

Accounts = dict[str, Any]


class StepProfile:
    """Records ``steps`` steps after the first few: a trace of each rank for chrome://tracing or Perfetto, a picture.

    Its context ends a trace that is open still: a process that ends while it is traced crashes.
    """

    def __init__(self, run: Path, steps: int, mesh: Mesh) -> None:
        self._folder = run / FOLDER
        self._steps = steps
        self._mesh = mesh
        self._done = -WARM_UP
        self._accounts: list[Accounts] = []
        self._trace: torch.profiler.profile | None = None

    def __enter__(self) -> StepProfile:
        return self

    def __exit__(self, *error: object) -> None:
        if self._trace is not None:
            self._trace.stop()
            self._trace = None

    @property
    def wanted(self) -> bool:
        """Whether any step is to be recorded."""
        return self._steps > 0

    @property
    def records(self) -> bool:
        """Whether the present step is one of those recorded."""
        return 0 <= self._done < self._steps

    def begin_step(self) -> None:
        """Start the trace where it is time."""
        if self.records and self._trace is None:
            self._folder.mkdir(exist_ok=True)
            self._mesh.ledger.close()  # what came before is not of these steps
            self._trace = torch.profiler.profile()
            self._trace.start()

    def end_step(self, accounts: Accounts | None) -> None:
        """``accounts``: of :meth:`janus_training.parallel.janus.Janus.accounts`, for a step that is recorded."""
        if accounts is not None and self.records:
            self._accounts.append(accounts)
        self._done += 1
        if self._done == self._steps and self._trace is not None:
            self._trace.stop()
            name = f"rank-{self._mesh.world.place:04d}.json.gz"
            self._trace.export_chrome_trace(str(self._folder / name))
            self._trace = None
            if self._mesh.first:
                draw(self._accounts, self._folder / "steps.png")

    def missed(self) -> str | None:
        """What to say where the run ended before all steps were recorded; None where nothing is missing."""
        if self._done >= self._steps or not self._steps:
            return None
        needed = self._steps + WARM_UP
        return (
            f"nothing is recorded in {self._folder}: --profile {self._steps} needs {needed} steps"
        )


def draw(accounts: Sequence[Accounts], file: Path) -> None:
    """Time, waiting, bytes and memory by phase, means over steps (memory: largest)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    axes = figure.subplots(2, 2)
    phases = [*PHASES, BETWEEN]
    seconds = _by_phase(accounts, "seconds", phases)
    waited = _by_kind(accounts, "waited", phases)
    waiting = [sum(values[i] for values in waited.values()) for i in range(len(phases))]
    computing = [max(total - lost, 0.0) for total, lost in zip(seconds, waiting, strict=True)]
    _stack(axes[0, 0], phases, {"computing": computing, "waiting": waiting}, "seconds a step")
    _stack(axes[0, 1], phases, waited, "seconds waited for")
    sent = {
        kind: [1e-6 * v for v in values]
        for kind, values in _by_kind(accounts, "bytes", phases).items()
    }
    _stack(axes[1, 0], phases, sent, "MB sent by all ranks")
    for name, label in (("memory", "process"), ("restored", "whole weights")):
        peaks = [1e-6 * max(row[name].get(phase, 0.0) for row in accounts) for phase in phases]
        axes[1, 1].plot(phases, peaks, "o-", label=label)
    axes[1, 1].set_ylabel("peak MB of a rank")
    axes[1, 1].set_ylim(bottom=0.0)
    axes[1, 1].tick_params(axis="x", rotation=20)
    axes[1, 1].legend()
    figure.savefig(file, dpi=120)


def _by_phase(accounts: Sequence[Accounts], name: str, phases: Sequence[str]) -> list[float]:
    return [sum(row[name].get(phase, 0.0) for row in accounts) / len(accounts) for phase in phases]


def _by_kind(
    accounts: Sequence[Accounts], name: str, phases: Sequence[str]
) -> dict[str, list[float]]:
    """Of entries "phase/kind": for each kind the means by phase."""
    kinds = dict.fromkeys(key.split("/")[1] for row in accounts for key in row[name])
    return {
        kind: [
            sum(row[name].get(f"{phase}/{kind}", 0.0) for row in accounts) / len(accounts)
            for phase in phases
        ]
        for kind in kinds
    }


def _stack(axes: Axes, phases: Sequence[str], parts: dict[str, list[float]], label: str) -> None:
    bottom = [0.0] * len(phases)
    for name, values in parts.items():
        axes.bar(phases, values, bottom=bottom, label=name)
        bottom = [a + b for a, b in zip(bottom, values, strict=True)]
    axes.set_ylabel(label)
    axes.tick_params(axis="x", rotation=20)
    if parts:
        axes.legend()
