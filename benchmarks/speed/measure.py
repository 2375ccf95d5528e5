"""Time and peak memory of a function, as one JSON line on standard output, and how to read such a line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def peak_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(graph: Callable[[], object], evaluate: Callable[[object], object], repeats: int) -> None:
    """Print graph seconds, median evaluation seconds after one warm-up, peak MB and MB above the imports."""
    before = peak_mb()
    start = time.perf_counter()
    built = graph()
    graph_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        evaluate(built)
        seconds.append(time.perf_counter() - start)
    timed = sorted(seconds[1:]) or seconds
    print(
        json.dumps(
            {
                "graph_s": round(graph_seconds, 3),
                "evaluation_s": round(timed[len(timed) // 2], 3),
                "peak_mb": round(peak_mb()),
                "above_imports_mb": round(peak_mb() - before),
            }
        )
    )


def measured(python: str, script: Path, threads: int, *arguments: object) -> dict[str, float]:
    """The figures that ``script`` prints last, run by ``python`` with so many threads.

    Modules beside this file and both packages of the checkout are importable there, whatever the environment.
    """
    here = Path(__file__).resolve().parent
    root = here.parents[1]
    search = os.pathsep.join(map(str, (here, root, root / "training")))
    done = subprocess.run(
        [python, str(script), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": search},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
