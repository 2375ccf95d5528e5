"""Energy and forces, and a training step, of ours and of other packages' models, in turn, a process for each.

    python benchmarks/speed/against_peers.py --systems salt --sizes 64 216 --peer mace=PEER/bin/python -o FILE.json

Random weights, float32, nothing compiled ahead, the same rattled structures. An evaluation starts from atoms, so
neighbour lists count; a training step (forward, forces, loss of both, backward, no optimiser) starts from a graph, as
trainers keep it. Processor seconds are a median after three warm-ups, or one call after one where the first takes more
than 20 s.
Memory is the process's peak above its imports, that of a training step after an evaluation in the same process.
``matched-METHOD`` is a dense model of ours with as many active parameters as METHOD: those that the energy of an atom
depends on where there is one element. What FILE holds is not measured again without ``--again``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chosen import interpreters, make_folder_of, refuse_not_positive, refuse_unknown
from figures import TITLES, Figures, Row, tables
from measure import attempted
from processor import cpu_model
from structures import MATERIALS, SIZES

from janus_md.errors import UserError

HERE = Path(__file__).resolve().parent
OURS = ("small", "fast", "10m")
PEERS = {
    "mace": ("mace-64x0e", "mace-128x0e+128x1o"),
    "sevennet": ("sevennet",),
    "nequip": ("nequip",),
    "chgnet": ("chgnet",),
    "matris": ("matris", "matris-recompute"),
}
"""Package → methods."""
MATCHED = {
    f"matched-{name}": name for names in PEERS.values() for name in names if "recom" not in name
}
"""Method of ours → the peer's method with as many active parameters."""
METHODS = [
    *OURS,
    *(one for names in PEERS.values() for name in names for one in (name, f"matched-{name}")
      if one in (name, *MATCHED)),
]  # fmt: skip
"""In the order in which they take turns: a matched model follows its peer."""

Attempt = Callable[..., tuple[list[Row], str]]


@dataclass
class Plan:
    """What to measure, and within which limits."""

    methods: list[str]
    systems: list[str]
    works: list[str] = field(default_factory=lambda: list(TITLES))
    peers: dict[str, str] = field(default_factory=dict)
    threads: int = 1
    repeats: int = 5
    limit_s: float = 120.0
    memory_gb: float = 16.0
    again: bool = False
    output: Path | None = None


def main() -> None:
    try:
        plan = read_plan(sys.argv[1:])
        figures = Figures(plan.output)
        for system in plan.systems:
            for method in plan.methods:
                measure(plan, figures, method, system)
        print(f"\n{tables(figures)}", end="")
    except UserError as error:
        sys.exit(f"against_peers.py: {error}")


def measure(
    plan: Plan, figures: Figures, method: str, system: str, attempt: Attempt = attempted
) -> None:
    """Add the rows of one method and system; what was not reached gets the reason in place of figures."""
    held = [figures.find(method, system, work) for work in plan.works]
    if all(held) and not plan.again:
        return
    python, script = _interpreter(plan, method)
    if method not in figures.methods or plan.again:
        _describe(plan, figures, method, attempt)
    common = {"method": method, "system": system, "threads": plan.threads, "cpu": cpu_model()}
    works = [work for work in plan.works if not _hopeless(figures, common, work)]
    lines, reason = [], ""
    if works:
        lines, reason = attempt(
            python, HERE / script, plan.threads, _model(figures, method), system, ",".join(works),
            plan.threads, plan.repeats, plan.limit_s, plan.memory_gb,
        )  # fmt: skip
    done = {line["work"]: line for line in lines}
    limits = {"time": f"> {plan.limit_s:g} s", "memory": f"> {plan.memory_gb:g} GB"}
    for work in plan.works:
        if work in done:
            row = common | done[work]
        elif work in works:
            row = common | {"work": work, "failed": limits.get(reason, f"failed: {reason}")}
            if work != works[len(done)]:
                row["failed"] = f"not tried: {works[len(done)]} {row['failed']}"
        else:
            smaller = _hopeless(figures, common, work)
            row = common | {"work": work, "failed": f"not tried: {smaller}"}
        figures.add(row)
        told = row.get("failed") or f"{row['cpu_s']:.3f} s, {row['above_imports_mb']} MB"
        print(f"{system:14}{work:10}{method:28}{told}", flush=True)


def _describe(plan: Plan, figures: Figures, method: str, attempt: Attempt) -> None:
    """Settings, versions and active parameters of a method; a matched one needs its peer's first."""
    if method in MATCHED and MATCHED[method] not in figures.methods:
        _describe(plan, figures, MATCHED[method], attempt)
    python, script = _interpreter(plan, method)
    name = f"dense-{figures.methods[MATCHED[method]]['active']}" if method in MATCHED else method
    lines, reason = attempt(
        python, HERE / script, 1, name, "salt-64", "count", 1, 1, 0, plan.memory_gb
    )  # fmt: skip
    if reason:
        raise UserError(f"{script} cannot build {method} with {python}: {reason}")
    figures.describe(method, lines[-1])


def _interpreter(plan: Plan, method: str) -> tuple[str, str]:
    package = next((package for package, names in PEERS.items() if method in names), None)
    if package is None:
        return sys.executable, "run_janus.py"
    if package not in plan.peers:
        raise UserError(f"{method} needs --peer {package}=PYTHON")
    return plan.peers[package], f"run_{package}.py"


def _model(figures: Figures, method: str) -> str:
    """How a script is told of a method; the search for a matched one would count as memory of its model."""
    return json.dumps(figures.methods[method]["settings"]) if method in MATCHED else method


def _hopeless(figures: Figures, common: Row, work: str) -> str:
    """The smaller system of this material that was beyond a limit, or ""."""
    material, size = common["system"].split("-")
    for row in figures.rows:
        same = row["method"] == common["method"] and row["work"] == work
        other, atoms = row["system"].split("-")
        if same and other == material and int(atoms) < int(size):
            failed = row.get("failed", "")
            if failed.startswith(">"):
                return f"{row['system']} {failed}"
            if failed.startswith("not tried: "):
                return failed.removeprefix("not tried: ")
    return ""


def read_plan(words: list[str]) -> Plan:
    """The plan that the command line asks for.

    Raises:
        UserError: an unknown method or peer, a method without its interpreter, or a limit that is not positive.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--systems", nargs="+", choices=MATERIALS, default=list(MATERIALS), help="materials"
    )
    parser.add_argument(
        "--sizes", nargs="+", type=int, choices=SIZES, default=[64, 216], help="atoms, about"
    )
    parser.add_argument(
        "--works", nargs="+", choices=TITLES, default=list(TITLES), help="what to measure"
    )
    parser.add_argument("--only", nargs="+", metavar="METHOD", help=", ".join(METHODS))
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="PACKAGE=PYTHON",
        help=", ".join(PEERS),
    )
    parser.add_argument("--threads", type=int, default=1, help="of every process")
    parser.add_argument("--repeats", type=int, default=5, help="measured calls of each work")
    parser.add_argument("--limit-s", type=float, default=120.0, help="processor s of one work")
    parser.add_argument("--memory-gb", type=float, default=16.0, help="address space of a process")
    parser.add_argument("--again", action="store_true", help="measure what FILE holds again")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="JSON of all figures, added to"
    )
    options = parser.parse_args(words)
    peers = interpreters(options.peer, PEERS)
    known = {*OURS, *(name for package in peers for name in PEERS[package])}
    methods = [name for name in METHODS if name in known or MATCHED.get(name) in known]
    if options.only:
        refuse_unknown(options.only, METHODS)
        methods = [name for name in METHODS if name in options.only]
    refuse_not_positive(options, "threads", "repeats", "limit_s", "memory_gb")
    make_folder_of(options.output)
    systems = [f"{material}-{size}" for material in options.systems for size in options.sizes]
    plan = Plan(
        methods, systems, options.works, peers, options.threads, options.repeats, options.limit_s,
        options.memory_gb, options.again, options.output,
    )  # fmt: skip
    for method in methods:
        _interpreter(plan, MATCHED.get(method, method))
    return plan


if __name__ == "__main__":
    main()
