"""What ranks cost: time against one rank, the exchanges' share of a step, and their bytes against a domain's surface.

    python benchmarks/lammps/ranks.py --cells 4 6 8 --ranks 1 2 4 -o benchmarks/results/lammps_ranks.json
    python benchmarks/lammps/ranks.py --cells 8 --ranks 1 2 --cores 0 1 --repeats 3

cells³ · 8 atoms of silicon, the `small` preset with random weights, float32, one thread and one core for each rank.

Wall seconds are LAMMPS's loop time, the set-up left out; their efficiency is T(1 rank) / (n T(n ranks)), given where
each rank had a core of its own. Processor seconds are of all ranks together and of the steps alone: two runs of
different lengths are subtracted. Polling makes them an upper bound where ranks wait.

The exchange's share is that of the plugin's profile, mean over the ranks. In there a rank waits for its neighbours,
too: unequal work, or a core that something else uses, shows up as exchange. The least of the ranks is that of the one
that came last and hardly waited, so it is what packing, sending and unpacking cost.

The surface is the number of ghosts with one cutoff around a rank's domain, what an exchange has to send.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from memory import LATTICE, silicon_model

from janus_md.lammps import build_plugin, input_lines, run, write_data

CUTOFF = 6.0
SKIN = 0.5
BLOCKS = 3
"""Of the preset: features and gradients are exchanged between them."""

WIDTH_BYTES = 128 * 4


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rattled_silicon(cells: int, folder: Path) -> Atoms:
    """Written to the folder, too."""
    atoms = bulk("Si", cubic=True, a=LATTICE) * (cells, cells, cells)
    atoms.rattle(0.1, seed=1)
    write_data(atoms, folder / "data.lmp")
    return atoms


def run_steps(atoms: Atoms, folder: Path, model: Path, ranks: int, steps: int) -> tuple[float, str]:
    """Processor seconds of LAMMPS, and what it printed."""
    lines = [
        *input_lines(atoms, "data.lmp", model, style="device cpu profile yes"),
        f"neighbor {SKIN} bin",
        "fix 1 all nve",
        f"run {steps}",
    ]
    (folder / "in.lmp").write_text("\n".join(lines) + "\n")
    build_plugin()  # before the count, as the compiler is a child, too
    begin = processor_seconds()
    done = run(["-in", "in.lmp"], ranks, folder, capture=True)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return processor_seconds() - begin, done.stdout


def pin(ranks: int, cores: list[int]) -> None:
    """Bind the ranks that MPICH starts from now on to the cores, in turn."""
    bound = (str(cores[rank % len(cores)]) for rank in range(ranks))
    os.environ["HYDRA_BINDING"] = f"user:{','.join(bound)}"


def loop_seconds(log: str) -> float:
    """Wall seconds of all steps."""
    return float(re.search(r"Loop time of (\S+) on", log)[1])


def exchange_percent(log: str) -> dict[str, float]:
    """Of the step that the profile accounts for."""
    rows = re.findall(r"^[a-z ]+? +\| +([\d.]+) \| +([\d.]+) \| +[\d.]+ \| +[\d.]+$", log, re.M)
    step = sum(float(mean) for _, mean in rows)
    least, mean = re.search(r"^exchange +\| +([\d.]+) \| +([\d.]+)", log, re.M).groups()
    return {
        "exchange_percent": 100 * float(mean) / step,
        "exchange_percent_least_rank": 100 * float(least) / step,
    }


def bytes_of_surface(atoms: Atoms, log: str) -> float:
    """That one rank has to send in a step."""
    grid = [int(n) for n in re.search(r"(\d+) by (\d+) by (\d+) MPI", log).groups()]
    sides = atoms.cell.lengths() / grid
    shell = np.prod(sides + 2 * (CUTOFF + SKIN)) - np.prod(sides)
    return float(2 * (BLOCKS - 1) * shell * len(atoms) / atoms.get_volume() * WIDTH_BYTES)


def measure(cells: int, ranks: int, steps: int, repeats: int, model: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atoms = rattled_silicon(cells, folder)
        short, _ = run_steps(atoms, folder, model, ranks, 0)
        runs = [run_steps(atoms, folder, model, ranks, steps) for _ in range(repeats)]
    walls = [loop_seconds(log) / steps for _, log in runs]
    log = runs[walls.index(statistics.median_low(walls))][1]
    sent = float(re.search(r"bytes sent \| +(\d+) \| +(\d+)", log)[2])
    least = bytes_of_surface(atoms, log)
    return {
        "atoms": len(atoms),
        "ranks": ranks,
        "wall_seconds_per_step": statistics.median_low(walls),
        "processor_seconds_per_step": (statistics.median(used for used, _ in runs) - short) / steps,
        **exchange_percent(log),
        "bytes_sent_per_rank_and_step": sent,
        "bytes_of_the_surface": least,
        "bytes_ratio": sent / least,
    }


def efficiency(row: dict[str, float], rows: list[dict[str, float]]) -> float | None:
    """Of the wall time against one rank on the same atoms; None where that was not measured."""
    for other in rows:
        if other["atoms"] == row["atoms"] and other["ranks"] == 1:
            one = other["wall_seconds_per_step"]
            return one / (row["ranks"] * row["wall_seconds_per_step"])
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--cells", type=int, nargs="+", default=[4, 6, 8])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="of which the median counts")
    parser.add_argument("--cores", type=int, nargs="+", default=sorted(os.sched_getaffinity(0)))
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = silicon_model(Path(folder) / "small.janus.pt")
        for cells in options.cells:
            for ranks in options.ranks:
                pin(ranks, options.cores)
                row = measure(cells, ranks, options.steps, options.repeats, model)
                rows.append(row)
                if 1 < ranks <= len(options.cores) and (found := efficiency(row, rows)):
                    row["wall_efficiency"] = found
                print({key: round(value, 3) for key, value in row.items()}, flush=True)
    if options.output:
        content = {"preset": "small", "cores": options.cores, "steps": options.steps, "rows": rows}
        options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
