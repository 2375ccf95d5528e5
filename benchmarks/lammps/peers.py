"""Molecular dynamics of ours in LAMMPS beside MACE and MatRIS through ASE and DeePMD in its own LAMMPS.

    python benchmarks/lammps/peers.py --sizes 216 512 1000 4096 --peer mace=PEER/bin/python \
        --peer matris=PEER/bin/python --peer deepmd=PEER/bin/python -o benchmarks/results/lammps_peers.json

The same rattled structures, random weights, float32, one thread, in turn and a process each; NVE from 300 K.
``matched-METHOD`` is a dense model of ours with as many active parameters as METHOD, ``shallow-5-METHOD`` and
``shallow-6-METHOD`` one of one block with a cutoff of 5 or 6 Å (see `speed/matched.py`). Rates are atom-steps per
processor second. Memory is the process's peak, and how much of that came after the imports or, in
LAMMPS, after loading its plugins. What takes more than ``--limit-s`` processor seconds or more than ``--memory-gb`` of
address space is in the table as that, and larger systems are not tried. What FILE holds is not measured again.
`accuracy/README.md` says how to set the peers up.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "speed"))

from chosen import interpreters, make_folder_of, refuse_unknown
from figures import Figures, Row
from measure import attempted
from structures import MATERIALS, SIZES

from janus_md.errors import UserError

HERE = Path(__file__).resolve().parent
SPEED = HERE.parent / "speed"
PEERS = {
    "mace": ("mace-64x0e", "mace-128x0e+128x1o"),
    "matris": ("matris",),
    "deepmd": ("deepmd", "deepmd-compressed"),
}
"""Package → methods."""
UNMATCHED = ("deepmd-compressed",)
"""The parameters of another method."""
COUNTERPARTS = {"matched": "dense", "shallow-5": "shallow-5", "shallow-6": "shallow-6"}
"""Kinds of our models with as many parameters as a method, and what `speed/run_janus.py` calls them."""
WORK = "dynamics"
METHODS = [
    "small", "fast",
    *(one for names in PEERS.values() for name in names
      for one in (name, *(f"{kind}-{name}" for kind in COUNTERPARTS if name not in UNMATCHED))),
]  # fmt: skip
"""In the order in which they take turns."""


def main() -> None:
    try:
        options = read_options(sys.argv[1:])
    except UserError as error:
        raise SystemExit(str(error)) from None
    figures = Figures(options.output)
    for method in options.methods:
        describe(figures, method, options.peers, options.memory_gb)
        for size in sorted(options.sizes):
            row = measured_row(figures, method, f"{options.material}-{size}", options)
            told = row.get("failed") or f"{row['atom_steps_per_s']} /s, {row['peak_mb']} MB"
            print(f"{row['system']:14}{method:28}{told}", flush=True)
            if "failed" in row:
                break
    print(f"\n{table(figures)}")


def read_options(words: list[str]) -> argparse.Namespace:
    """The command line, with ``peers``: package → interpreter, and ``methods``.

    Raises:
        UserError: an unknown method or peer, or a method without its interpreter.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--material", choices=MATERIALS, default="silicon")
    parser.add_argument(
        "--sizes", nargs="+", type=int, choices=SIZES, default=[216, 512, 1000, 4096]
    )
    parser.add_argument("--peer", action="append", default=[], metavar="PACKAGE=PYTHON")
    parser.add_argument("--only", nargs="+", metavar="METHOD", help=", ".join(METHODS))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--limit-s", type=float, default=300.0, help="processor s of one run")
    parser.add_argument("--memory-gb", type=float, default=16.0, help="address space of a process")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    options = parser.parse_args(words)
    options.peers = interpreters(options.peer, PEERS)
    make_folder_of(options.output)
    refuse_unknown(options.only or [], METHODS)
    there = {"janus", *options.peers}
    known = [name for name in METHODS if needed_package(name) in there]
    options.methods = [name for name in METHODS if name in (options.only or known)]
    for method in options.methods:
        if method not in known:
            raise UserError(f"{method} needs --peer {needed_package(method)}=PYTHON")
    return options


def describe(figures: Figures, method: str, peers: dict[str, str], gigabytes: float) -> None:
    """Settings, versions and active parameters, from the scripts of the benchmark of evaluations where they have it."""
    if method in figures.methods:
        return
    if counterpart := counterpart_of(method):
        describe(figures, counterpart[1], peers, gigabytes)
    package = package_of(method)
    if package == "deepmd":
        script, words = HERE / "dynamics_deepmd.py", ["silicon-216", "count"]
    else:
        script, words = SPEED / f"run_{package}.py", ["salt-64", "count", 1, 1, 0, gigabytes]
    python = peers.get(package, sys.executable)
    lines, reason = attempted(python, script, 1, model_name(figures, method), *words)
    if reason:
        raise SystemExit(f"{script.name} cannot build {method} with {python}: {reason}")
    figures.describe(method, lines[-1])


def measured_row(figures: Figures, method: str, system: str, options: argparse.Namespace) -> Row:
    if held := figures.find(method, system, WORK):
        return held
    package = package_of(method)
    lines, reason = attempted(
        options.peers.get(package, sys.executable), HERE / f"dynamics_{package}.py", 1,
        model_name(figures, method), system, options.steps, options.limit_s, options.memory_gb,
    )  # fmt: skip
    row: Row = {"method": method, "system": system, "work": WORK, "steps": options.steps}
    limits = {"time": f"> {options.limit_s:g} s", "memory": f"> {options.memory_gb:g} GB"}
    row |= {"failed": limits.get(reason, f"failed: {reason}")} if reason else lines[-1]
    figures.add(row)
    return row


def package_of(method: str) -> str:
    return next((package for package, names in PEERS.items() if method in names), "janus")


def needed_package(method: str) -> str:
    """What has to be there for a method: its package, or that of the method whose parameters are counted first."""
    counterpart = counterpart_of(method)
    return package_of(counterpart[1] if counterpart else method)


def counterpart_of(method: str) -> tuple[str, str] | None:
    """``matched-mace`` → its kind of model and the method whose parameters it has; None for other methods."""
    found = (
        (name, method.removeprefix(f"{kind}-"))
        for kind, name in COUNTERPARTS.items()
        if method.startswith(f"{kind}-")
    )
    return next(found, None)


def model_name(figures: Figures, method: str) -> str:
    """The name by which a script knows a method."""
    if counterpart := counterpart_of(method):
        kind, peer = counterpart
        return f"{kind}-{figures.methods[peer]['active']}"
    return method


def table(figures: Figures) -> str:
    """Markdown: methods down, systems across; rates and peaks, or why there are none."""
    systems = list(dict.fromkeys(row["system"] for row in figures.rows))
    systems.sort(key=lambda name: int(name.split("-")[1]))
    lines = [
        f"| atom-steps per s / peak MB / above imports MB | active parameters | {' | '.join(systems)} |",
        "| --- " * (len(systems) + 2) + "|",
    ]
    for method, facts in figures.methods.items():
        cells = [_cell(figures.find(method, system, WORK)) for system in systems]
        lines.append(f"| `{method}` | {facts['active']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    if "failed" in row:
        return row["failed"]
    return f"{row['atom_steps_per_s']:.3g} / {row['peak_mb']} / {row['above_imports_mb']}"


if __name__ == "__main__":
    main()
