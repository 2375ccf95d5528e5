"""Memory of each rank over a long run in which ``fix balance`` keeps moving the domains.

    python benchmarks/lammps/soak.py --model silicon.janus.pt --minutes 60 -o benchmarks/results/lammps_soak.json

A slab of silicon with as much vacuum flies through the periodic box, half of it hot, so that the ranks' domains have to
follow it and atoms change ranks all the time. With random weights (`--preset`) hot atoms soon meet. Resident memory
of every rank is sampled once a second. Growth is that of its mean from the second tenth of the run, when everything has
been allocated once, to the last tenth; the largest values of these tenths are compared, too.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
from ase import Atoms
from ase.build import bulk
from memory import LATTICE, silicon_model
from ranks import loop_seconds

from janus_md.lammps import build_plugin, input_lines, run, write_data

COMMANDS = """
neighbor 1.0 bin
comm_modify cutoff 8.0
timestep 0.0005
region front block INF INF INF INF INF {middle} units box
group hot region front
group cool subtract all hot
velocity hot create {hot} 4928459 mom yes rot no
velocity cool create {cool} 87287 mom yes rot no
velocity all set NULL NULL {drift} sum yes
compute hot hot temp/com
compute cool cool temp/com
fix hot hot nvt temp {hot} {hot} 0.05
fix cool cool nvt temp {cool} {cool} 0.05
fix_modify hot temp hot
fix_modify cool temp cool
fix balance all balance {every} 1.02 shift z 20 1.01 out domains.txt
thermo {every}
thermo_style custom step time c_hot c_cool pe f_balance
thermo_modify lost error
timer timeout {seconds} every 10
run 1000000000
"""


def flying_slab(cells: list[int]) -> Atoms:
    """As long as the vacuum along z."""
    atoms = bulk("Si", cubic=True, a=LATTICE).repeat(cells)
    atoms.rattle(0.02, seed=1)
    atoms.cell[2] *= 2
    return atoms


def rank_pids(folder: Path) -> list[int]:
    """Of the LAMMPS processes that work in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            works_here = (process / "cwd").resolve() == folder
            if works_here and (process / "comm").read_text().strip() == "lmp":
                found.append(int(process.name))
        except OSError:  # it has ended, or is somebody else's
            continue
    return sorted(found)


def resident_mb(pid: int) -> float:
    """Nan for a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024
    except (OSError, TypeError):
        return float("nan")


def sampled(folder: Path, ranks: int, work: Future[CompletedProcess[str]]) -> np.ndarray:
    """Rows of seconds and each rank's resident memory in MB, until the work is done."""
    rows: list[list[float]] = []
    begin = time.monotonic()
    pids: list[int] = []
    while not work.done():
        if len(pids) < ranks:
            pids = rank_pids(folder)
        elif not any(np.isnan(row := [time.monotonic() - begin, *map(resident_mb, pids)])):
            rows.append(row)
        time.sleep(1.0)
    return np.array(rows)


def growth_percent(samples: np.ndarray) -> dict[str, list[float]]:
    """Of each rank's memory from the second tenth of the time to the last."""
    seconds, memory = samples[:, 0], samples[:, 1:]
    tenth = seconds[-1] / 10
    first = memory[(seconds >= tenth) & (seconds < 2 * tenth)]
    last = memory[seconds >= 9 * tenth]
    change = {name: of(last, axis=0) / of(first, axis=0) for name, of in
              (("mean", np.mean), ("largest", np.max))}  # fmt: skip
    return {name: np.round(100 * (ratio - 1), 3).tolist() for name, ratio in change.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--cells", type=int, nargs=3, default=[3, 3, 6], help="of the slab")
    parser.add_argument("--preset", default="small", help="with random weights")
    parser.add_argument("--model", type=Path, help="an exported file instead")
    parser.add_argument("--style", default="", help="more arguments of pair_style, e.g. 'chunk 50'")
    parser.add_argument("--hot", type=float, default=900.0, help="K")
    parser.add_argument("--cool", type=float, default=100.0, help="K")
    parser.add_argument("--drift", type=float, default=20.0, help="Å/ps")
    parser.add_argument("--every", type=int, default=20, help="steps between balances")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    build_plugin()
    atoms = flying_slab(options.cells)
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as pool:
        folder = Path(name).resolve()
        model = options.model or silicon_model(folder / "model.janus.pt", options.preset)
        write_data(atoms, folder / "data.lmp")
        set_up = input_lines(
            atoms, "data.lmp", model.resolve(), style=f"device cpu {options.style}"
        )
        values = vars(options) | {
            "middle": atoms.cell[2, 2] / 4,
            "seconds": round(60 * options.minutes),
        }
        (folder / "in.lmp").write_text(
            "\n".join(["processors 1 1 *", *set_up]) + COMMANDS.format(**values)
        )
        work = pool.submit(run, ["-in", "in.lmp"], options.ranks, folder, capture=True)
        samples = sampled(folder, options.ranks, work)
        done = work.result()
        if done.returncode != 0:
            raise SystemExit(done.stdout + done.stderr)
        domains = (folder / "domains.txt").read_text()

    steps = int(re.search(r"Loop time of \S+ on \d+ procs for (\d+) steps", done.stdout)[1])
    growth = growth_percent(samples)
    result = {
        "model": options.model.name if options.model else options.preset,
        "style": options.style,
        "atoms": len(atoms),
        "ranks": options.ranks,
        "minutes": round(loop_seconds(done.stdout) / 60, 2),
        "steps": steps,
        "rebalances": domains.count("ITEM: TIMESTEP"),
        "growth_of_mean_percent": growth["mean"],
        "growth_of_largest_percent": growth["largest"],
        "mean_mb_of_each_twentieth": [
            np.round(part[:, 1:].mean(axis=0), 1).tolist() for part in np.array_split(samples, 20)
        ],
    }
    for key, value in result.items():
        print(f"{key:28}{value}")
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
