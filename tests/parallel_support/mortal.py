"""Runs whose ranks are killed at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import load_file

from janus_training.metrics import read_metrics
from parallel_support.launchers import TIME_LIMIT, TRAIN, environment, with_torchrun


def killed_now_and_then(
    recipe: Path, run: Path, settings: Sequence[str], kills: int, seed: int
) -> int:
    """Train on two ranks under torchrun, which starts them again; how many ranks were killed.

    Each time, a rank that chance chooses dies: now and then while it starts, mostly some steps later, in the middle of
    a step, a validation or a checkpoint.
    """
    chance = random.Random(seed)
    chosen = [part for setting in settings for part in ("--set", setting)]
    command = [
        *with_torchrun(2, f"--max-restarts={kills}"),
        *TRAIN,
        str(recipe),
        "-o",
        str(run),
        *chosen,
    ]
    log = run.with_suffix(".log")
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=environment(), stderr=stream, text=True)
        killed, before, deadline = 0, set(), time.monotonic() + TIME_LIMIT * (1 + kills / 5)
        try:
            while killed < kills and process.poll() is None:
                ranks = _children(process.pid) - before
                if len(ranks) < 2:
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
                    continue
                before |= ranks
                if chance.random() < 0.7:
                    wait_for_rows(run, chance.randrange(1, 6), process, deadline)
                    time.sleep(chance.random() * 0.1)
                else:
                    time.sleep(chance.random() * 4.0)
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(sorted(ranks)), signal.SIGKILL)
                    killed += 1
            code = process.wait(timeout=max(deadline - time.monotonic(), 1.0))
        finally:
            process.kill()
    assert code == 0, log.read_text()
    assert not list((run / "checkpoints").glob(".*")), "a trace of a checkpoint cut off"
    return killed


def assert_same_run(found: Path, expected: Path) -> None:
    """To the last bit: weights, averages, moments; and the metrics, but for clocks and the ledger."""
    for name in ("training.safetensors", "model.safetensors"):
        ours, theirs = (load_file(run / "checkpoints" / "last" / name) for run in (found, expected))
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(value, theirs[key]), key
    rows = [
        [
            {k: v for k, v in row.items() if k not in ("minutes", "ranks")}
            for row in read_metrics(run)
        ]
        for run in (found, expected)
    ]
    assert rows[0] == rows[1]


def wait_for_rows(run: Path, more: int, process: subprocess.Popen[str], deadline: float) -> None:
    """Until the ranks that have just been started have written so many rows of metrics."""
    file = run / "metrics.jsonl"
    first = _rows(file)  # also those that the new ranks are going to drop
    while process.poll() is None and time.monotonic() < deadline:
        first = min(first, _rows(file))
        if _rows(file) >= first + more:
            return
        time.sleep(0.005)


def _rows(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _children(parent: int) -> set[int]:
    """Processes that ``parent`` has started and that still run."""
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    return {int(number) for number in listed.read_text().split()} if listed.exists() else set()
