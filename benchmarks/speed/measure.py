"""Peak memory of a process, and how to run a script and read the figures it prints, one JSON object a line."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

OUT_OF_MEMORY = ("allocate memory", "MemoryError", "bad_alloc", "Cannot allocate")


def peak_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(python: str, script: Path, threads: int, *arguments: object) -> dict[str, float]:
    """The figures that ``script`` prints last, run by ``python`` with so many threads."""
    lines, reason = attempted(python, script, threads, *arguments)
    if reason:
        raise SystemExit(f"{script.name}: {reason}")
    return lines[-1]


def attempted(
    python: str, script: Path, threads: int, *arguments: object
) -> tuple[list[dict[str, Any]], str]:
    """What ``script`` prints until it ends, and why it ended early: "time", "memory", the fault, or "".

    Modules beside this file and both packages of the checkout are importable there, whatever the environment.
    """
    here = Path(__file__).resolve().parent
    root = here.parents[1]
    search = os.pathsep.join(map(str, (here, root, root / "training")))
    done = subprocess.run(
        [python, str(script), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": search},
        capture_output=True,
        text=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0:
        return lines, ""
    if done.returncode == -signal.SIGXCPU:
        return lines, "time"
    if any(word in done.stderr for word in OUT_OF_MEMORY):
        return lines, "memory"
    told = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines, told[-1]
