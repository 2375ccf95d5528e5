"""What a run tells: a JSONL and a CSV file with every step, and a line or a bar for the person watching."""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from janus_training.config import TrackConfig
from janus_training.trackers import open_trackers

JSONL, CSV = "metrics.jsonl", "metrics.csv"
COLUMNS = (
    "kind", "step", "epoch", "minutes", "lr", "loss", "gradient", "task",
    "energy", "forces", "stress", "magmoms",
)  # fmt: skip
SECONDS_BETWEEN_LINES = 10.0


class Metrics:
    """Rows of kind ``train`` (one a step: terms of the loss) and ``valid`` (one a task: MAE in eV and Å).

    A resumed run first drops the rows after its checkpoint, so the files read as if nothing had happened.
    """

    def __init__(self, run: Path, step: int, track: TrackConfig, writes: bool = True) -> None:
        """``writes``: whether this process is the one of the run that does."""
        self._files = ExitStack()
        self._writes = writes
        if not writes:
            return
        self._trackers = open_trackers(track, run, step)
        kept = [row for row in read_metrics(run) if row["step"] <= step] if step else []
        # A run killed between its last checkpoint and its report validates the same weights again.
        self._known = {_what(row) for row in kept if row["kind"] == "valid"}
        _rewrite(run, kept)
        self._jsonl = self._files.enter_context((run / JSONL).open("a"))
        self._csv = self._files.enter_context((run / CSV).open("a", newline=""))
        for tracker in self._trackers:
            self._files.callback(tracker.close)

    def write(self, row: dict[str, Any]) -> None:
        if not self._writes or _what(row) in self._known:
            return
        self._jsonl.write(json.dumps(row) + "\n")
        self._jsonl.flush()
        csv.DictWriter(self._csv, COLUMNS, extrasaction="ignore").writerow(row)
        self._csv.flush()
        for tracker in self._trackers:
            tracker.write(row)

    def close(self) -> None:
        self._files.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Rows of ``metrics.jsonl``; a last line cut off by a kill is left out."""
    file = run / JSONL
    rows = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class Reporter:
    """A bar with an estimate on a terminal, plain lines otherwise; on stderr."""

    def __init__(self, every: int, speaks: bool = True) -> None:
        """``every``: steps between lines. ``speaks``: whether this process is the one of the run that does."""
        self._every = every
        self._speaks = speaks
        self._last = -math.inf
        self._bar: Progress | None = None
        self._exit = ExitStack()

    def __enter__(self) -> Reporter:
        if self._speaks and sys.stderr.isatty():
            columns = (
                TextColumn("train"), BarColumn(), TextColumn("{task.percentage:>4.0f}%"),
                TimeElapsedColumn(), TextColumn("{task.fields[left]}  {task.fields[message]}", markup=False),
            )  # fmt: skip
            self._bar = self._exit.enter_context(Progress(*columns, console=Console(stderr=True)))
            self._job = self._bar.add_task("train", total=1.0, left="", message="")
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    def step(self, step: int, progress: float, minutes_left: float, message: str) -> None:
        """At most one line in ten seconds where there is no terminal, and only every so many steps."""
        left = "" if math.isnan(minutes_left) else f"{minutes_left:.1f} min left"
        if self._bar is not None:
            self._bar.update(self._job, completed=progress, left=left, message=message)
        elif step % self._every == 0 and time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self.say(f"step {step}  {100 * progress:.0f} %  {left}  {message}")

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        elif self._speaks:
            print(line, file=sys.stderr, flush=True)


def _what(row: dict[str, Any]) -> tuple[str, int, str | None]:
    return row["kind"], row["step"], row.get("task")


def _rewrite(run: Path, rows: list[dict[str, Any]]) -> None:
    scratch = run / f".{JSONL}.part"
    scratch.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scratch.replace(run / JSONL)
    with (run / CSV).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
