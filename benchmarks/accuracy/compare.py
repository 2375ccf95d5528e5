"""Train ours and the peers on the same frames for the same wall time; draw test errors over time.

    python benchmarks/accuracy/compare.py --cases si 3bpa --minutes 10 --threads 1 \\
        --peer mace=PEERS/mace/bin/python --peer sevennet=PEERS/sevennet/bin/python \\
        --data ../shared/data -o RUNS

Results merge into RUNS/accuracy.json, so a comparison can be made bit by bit; what is in there is not run again
without --again. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "speed"))

from cases import CASES, case_named, write_case
from chosen import interpreters, refuse_not_positive, refuse_unknown
from processor import cpu_model
from results import METHODS, PEERS, Entry, Results, table

from janus_md.errors import UserError
from janus_md.folders import make_writable

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RECIPES = {"si": ROOT / "training" / "recipes" / "silicon.yaml"}
"""Other cases have theirs in ``recipes``."""
PACE_SECONDS = 30.0
ALLOWANCE = 0.95
"""Share of the time that a schedule in epochs is laid out for: the machine may be slower than when measured."""
GRACE_SECONDS = 120.0
"""How much longer than its time a method may take to reach the end of a step."""


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    cases: list[str]
    methods: list[str]
    interpreters: dict[str, str]
    minutes: float
    threads: int
    seed: int
    data: Path
    output: Path
    again: bool

    def folder(self, case: str, method: str) -> Path:
        name = f"{self.minutes:g}-minutes-{self.threads}-threads-seed-{self.seed}"
        return self.output / case / method / name


def main() -> None:
    # Ended like this, it still ends the training that it has started.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        plan = read_plan(sys.argv[1:])
        failures = compare(plan)
    except UserError as error:
        sys.exit(f"compare.py: {error}")
    if failures:
        sys.exit("\n".join(f"compare.py: {line}" for line in failures))


def read_plan(words: list[str]) -> Plan:
    """Raises ``UserError`` for names that are unknown and interpreters or data that are not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--cases", nargs="+", default=list(CASES), metavar="CASE", help=f"of {', '.join(CASES)}"
    )
    parser.add_argument("--only", nargs="+", metavar="METHOD", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--minutes", type=float, default=10.0, help="wall time of each training")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--cores", type=int, nargs="+", help="pin everything to these cores")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help=", ".join(PEERS),
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets"
    )
    parser.add_argument("--again", action="store_true", help="also run what is done already")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of everything")
    options = parser.parse_args(words)
    peers = interpreters(options.peer, PEERS)
    for name, python in peers.items():
        _refuse_not_installed(name, python)
    if not options.data.is_dir():
        raise UserError(f"{options.data} is not a folder; give that of the data sets with --data")
    refuse_not_positive(options, "minutes", "threads")
    make_writable(options.output)
    for name in options.cases:
        case_named(name)
    if options.cores is not None:
        pin(options.cores)
    return Plan(
        cases=options.cases,
        methods=_methods(options.only, peers),
        interpreters=peers,
        minutes=options.minutes,
        threads=options.threads,
        seed=options.seed,
        data=options.data.resolve(),
        output=options.output.resolve(),
        again=options.again,
    )


def compare(plan: Plan) -> list[str]:
    """Run what is missing, draw; returns a sentence for every method that failed."""
    results, failures = Results(plan.output), []
    for case in plan.cases:
        facts = write_case(case, plan.data, plan.output / "data" / case)
        for method in plan.methods:
            key = case, method, plan.minutes, plan.threads, plan.seed
            if key in results and not plan.again:
                continue
            print(f"{case}: {method}, {plan.minutes:g} minutes", file=sys.stderr, flush=True)
            try:
                results.add(run(plan, case, method, facts))
            except Failed as failure:
                failures.append(str(failure))
            _show(results, plan)
    _show(results, plan)
    print(table(results, plan.minutes, plan.threads))
    return failures


class Failed(Exception):
    """One sentence: which method failed on which case, and where its output is."""


def run(plan: Plan, case: str, method: str, facts: dict[str, Any]) -> Entry:
    """Train one method on one case, then evaluate what it kept."""
    folder = plan.folder(case, method)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    content = {
        "case": case, "method": method, "data": str(plan.output / "data" / case),
        "minutes": plan.minutes, "threads": plan.threads, "seed": plan.seed,
        "pace_seconds": PACE_SECONDS, "recipe": str(recipe_of(case)), **facts,
    }  # fmt: skip
    pace = {} if package_of(method) == "ours" else measure_pace(plan, case, method, content)
    epochs = epochs_in(plan.minutes, **pace) if pace else None
    content |= {"folder": str(folder), "epochs": epochs}
    before = cpu_minutes()
    start(plan, method, "train", content, 60.0 * plan.minutes + GRACE_SECONDS)
    used = cpu_minutes() - before
    start(plan, method, "evaluate", content, math.inf)
    measured = json.loads((folder / "facts.json").read_text())
    end = folder / "end.json"
    return Entry(
        case=case, method=method, minutes=plan.minutes, threads=plan.threads, seed=plan.seed,
        cpu=cpu_model(), cpu_minutes=round(used, 3), **measured,
        epochs=epochs, epoch_s=pace.get("epoch_s"),
        steps=json.loads(end.read_text())["steps"] if end.is_file() else None,
        points=json.loads((folder / "points.json").read_text()),
    )  # fmt: skip


def package_of(method: str) -> str:
    """``mace`` of ``mace-tuned``."""
    return method.partition("-")[0]


def recipe_of(case: str) -> Path:
    return RECIPES.get(case, HERE / "recipes" / f"{case}.yaml")


def measure_pace(plan: Plan, case: str, method: str, content: dict[str, Any]) -> dict[str, float]:
    """Seconds of set-up and of an epoch, measured once per case, method and threads by a training thrown away."""
    folder = plan.output / case / method / f"pace-{plan.threads}-threads"
    if plan.again:
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / "pace.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        start(plan, method, "train", content | {"folder": str(folder), "epochs": None}, math.inf)
    return json.loads((folder / "pace.json").read_text())


def epochs_in(minutes: float, set_up_s: float, epoch_s: float) -> int:
    """Epochs for which there is time."""
    return max(2, int((60.0 * minutes - set_up_s) * ALLOWANCE / epoch_s))


def start(plan: Plan, method: str, what: str, content: dict[str, Any], limit: float) -> None:
    """Run the script of a method and wait; ``limit`` seconds later it is ended.

    Raises ``Failed`` where it fails or where it is not done by then.
    """
    folder = Path(content["folder"])
    package = package_of(method)
    job, log = folder / "job.json", folder / f"{what}.log"
    with log.open("w") as stream:
        job.write_text(json.dumps(content | {"started": time.time()}, indent=2) + "\n")
        process = subprocess.Popen(
            [_python(plan, package), HERE / f"run_{package}.py", what, job],
            env=environment(plan.threads, ours=package == "ours"),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(None if math.isinf(limit) else limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            # Ours has a process of its own below the script: the group holds both.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    if code != 0:
        why = "did not stop in time" if code is None else f"failed ({_last_line(log)})"
        raise Failed(f"{method} {why} on {content['case']}; its output is in {log}")


def environment(threads: int, ours: bool) -> dict[str, str]:
    """The same threads for everybody, no GPU; ours finds this checkout, the peers only the scripts here."""
    paths = [HERE, ROOT, ROOT / "training"] if ours else [HERE]
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    return os.environ | dict.fromkeys(names, str(threads)) | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip


def cpu_minutes() -> float:
    """Of all children so far: on a shared machine it tells who got how much of the wall time."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) / 60.0


def _show(results: Results, plan: Plan) -> None:
    """Table and picture of what there is."""
    if not any(results.of(case, plan.minutes, plan.threads) for case in CASES):
        return
    from picture import draw

    text = table(results, plan.minutes, plan.threads)
    (plan.output / "accuracy.md").write_text(text, encoding="utf-8")
    draw(results, plan.minutes, plan.output / "accuracy.png", plan.threads)


def _refuse_not_installed(name: str, python: str) -> None:
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    words = [python, "-c", probe, PEERS[name]]
    if subprocess.run(words, env=environment(1, ours=False)).returncode:
        raise UserError(
            f"--peer {name}={python}: '{PEERS[name]}' is not installed there; see README.md"
        )


def _methods(only: list[str] | None, peers: dict[str, str]) -> list[str]:
    refuse_unknown(only or [], METHODS)
    for name in only or []:
        peer = package_of(name)
        if peer in PEERS and peer not in peers:
            raise UserError(f"method '{name}' needs --peer {peer}=PYTHON")
    return only or ["ours", *(m for m in METHODS if package_of(m) in peers)]


def pin(cores: list[int]) -> None:
    """This process and all it starts."""
    try:
        os.sched_setaffinity(0, cores)
    except (AttributeError, OSError, ValueError):
        raise UserError(f"--cores {cores}: these cores cannot be had here") from None


def _python(plan: Plan, package: str) -> str:
    return plan.interpreters.get(package, sys.executable)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"


if __name__ == "__main__":
    main()
