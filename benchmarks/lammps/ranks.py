"""What ranks cost: processor time against one rank, and bytes that the exchanges send against the surface of a domain.

    python benchmarks/lammps/ranks.py --cells 4 6 8 --ranks 1 2 4 -o benchmarks/results/lammps_ranks.json

cells³ · 8 atoms of silicon, the `small` preset with random weights, float32. Processor seconds are of all ranks
together and of the steps alone: two runs of different lengths are subtracted. Polling makes them an upper bound where
ranks wait. The surface is the number of ghosts with one cutoff around a rank's domain, what an exchange has to send.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from memory import LATTICE, silicon_model

from janus_md.lammps import input_lines, run, write_data

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
    begin = processor_seconds()
    done = run(["-in", "in.lmp"], ranks, folder, capture=True)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    return processor_seconds() - begin, done.stdout


def measure(cells: int, ranks: int, steps: int, model: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atoms = rattled_silicon(cells, folder)
        short, _ = run_steps(atoms, folder, model, ranks, 0)
        long, log = run_steps(atoms, folder, model, ranks, steps)
    grid = [int(n) for n in re.search(r"(\d+) by (\d+) by (\d+) MPI", log).groups()]
    sides = np.array([cells * LATTICE / n for n in grid])
    shell = np.prod(sides + 2 * (CUTOFF + SKIN)) - np.prod(sides)
    ghosts = shell * len(atoms) / (cells * LATTICE) ** 3
    sent = float(re.search(r"bytes sent \| +(\d+) \| +(\d+)", log)[2])
    least = float(2 * (BLOCKS - 1) * ghosts * WIDTH_BYTES)
    return {
        "atoms": len(atoms),
        "ranks": ranks,
        "processor_seconds_per_step": (long - short) / steps,
        "bytes_sent_per_rank_and_step": sent,
        "bytes_of_the_surface": least,
        "bytes_ratio": sent / least,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[4, 6, 8])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        model = silicon_model(Path(folder) / "small.janus.pt")
        for cells in options.cells:
            for ranks in options.ranks:
                rows.append(measure(cells, ranks, options.steps, model))
                print({key: round(value, 3) for key, value in rows[-1].items()}, flush=True)
    if options.output:
        options.output.write_text(json.dumps({"preset": "small", "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
