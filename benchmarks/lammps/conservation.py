"""Crystalline silicon in LAMMPS: total energy over time, and 1 rank against 2 ranks.

    python benchmarks/lammps/conservation.py silicon.janus.pt --cells 2 --picoseconds 20
    python benchmarks/lammps/conservation.py silicon.janus.pt --cells 2 --equilibrate 1 --replicate 4

NVE at 300 K with a time step of 0.5 fs, cells³ · 8 atoms. Prints the drift of the total energy (a straight line
through the samples after the first twentieth), the largest differences of energy and forces between 1 and 2
ranks on the rattled start, and seconds per step; ``-o`` writes JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from ase.build import bulk

from janus_md.export import load_exported
from janus_md.lammps.inputs import input_lines, write_data
from janus_md.lammps.run import run

LATTICE = 5.469
"""Å, PBE silicon."""

TIMESTEP = 0.0005
"""ps"""

SINGLE_POINT = """
dump forces all custom 1 {forces} id fx fy fz
dump_modify forces sort id format float %.12g
thermo_style custom step pe press
thermo_modify format float %.12g
run 0
"""

EQUILIBRATION = """
velocity all create 600 87287 mom yes rot no
fix heat all nvt temp 300 300 0.05
timestep {timestep}
thermo 1000
run {steps}
unfix heat
reset_timestep 0
"""

DYNAMICS = """
replicate {copies} {copies} {copies}
velocity all create {temperature} 4928459 mom yes rot no
fix move all nve
timestep {timestep}
thermo {every}
thermo_style custom step time temp etotal pe cpu
thermo_modify format float %.12g
run {steps}
"""


def thermo(log: Path) -> np.ndarray:
    """Rows of numbers that follow the last ``Step`` line of a LAMMPS log."""
    lines = log.read_text(encoding="utf-8").splitlines()
    first = max(i for i, line in enumerate(lines) if line.split()[:1] == ["Step"])
    rows = []
    for line in lines[first + 1 :]:
        try:
            rows.append([float(word) for word in line.split()])
        except ValueError:
            break
    return np.array(rows)


def in_lammps(folder: Path, setup: list[str], commands: str, ranks: int) -> Path:
    """Run ``commands`` on ``ranks`` ranks; the log's path."""
    script, log = folder / f"in.{ranks}", folder / f"log.{ranks}"
    script.write_text("\n".join(setup) + commands, encoding="utf-8")
    run(["-in", str(script), "-log", str(log), "-screen", "none"], ranks=ranks, cwd=folder)
    return log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--equilibrate", type=float, default=0.0, help="ps of NVT at 300 K before")
    parser.add_argument("--replicate", type=int, default=1, help="copies after it, each way")
    parser.add_argument("--picoseconds", type=float, default=0.2)
    parser.add_argument("--ranks", type=int, default=2, help="for the dynamics")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    atoms = bulk("Si", "diamond", a=LATTICE, cubic=True).repeat(options.cells)
    atoms.rattle(0.02, seed=0)
    steps = round(options.picoseconds / TIMESTEP)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(atoms, folder / "start.data")
        setup = input_lines(atoms, folder / "start.data", options.model.resolve())
        points = {}
        for ranks in (1, 2):
            forces = folder / f"forces.{ranks}"
            log = in_lammps(folder, setup, SINGLE_POINT.format(forces=forces), ranks)
            points[ranks] = thermo(log)[0], np.loadtxt(forces, skiprows=9)[:, 1:]
        every = max(1, steps // 400)
        dynamics = DYNAMICS.format(
            copies=options.replicate,
            # Without equilibration half of the kinetic energy goes into the positions.
            temperature=300 if options.equilibrate else 600,
            timestep=TIMESTEP,
            every=every,
            steps=steps,
        )
        if options.equilibrate:
            heating = round(options.equilibrate / TIMESTEP)
            dynamics = EQUILIBRATION.format(timestep=TIMESTEP, steps=heating) + dynamics
        rows = thermo(in_lammps(folder, setup, dynamics, options.ranks))

    count = len(atoms) * options.replicate**3
    settled = rows[len(rows) // 20 :]
    line, covariance = np.polyfit(settled[:, 1], settled[:, 3] / count * 1e6, 1, cov=True)
    result = {
        "model": options.model.name,
        "precision": load_exported(options.model).manifest.dtype,
        "atoms": count,
        "atoms_of_the_comparison_of_ranks": len(atoms),
        "picoseconds": options.picoseconds,
        "mean_temperature_K": round(float(settled[:, 2].mean()), 1),
        "drift_ueV_per_atom_per_ps": round(float(line[0]), 4),
        "drift_standard_error": round(float(covariance[0, 0] ** 0.5), 4),
        "spread_of_total_energy_ueV_per_atom": round(float(settled[:, 3].std() / count * 1e6), 4),
        "energy_1_against_2_ranks_eV_per_atom": float(
            abs(points[1][0][1] - points[2][0][1]) / len(atoms)
        ),
        "force_1_against_2_ranks_eV_per_A": float(np.abs(points[1][1] - points[2][1]).max()),
        "pressure_1_against_2_ranks_bar": float(abs(points[1][0][2] - points[2][0][2])),
        "ranks": options.ranks,
        "seconds_per_step": round(float(rows[-1, 5] / steps), 4),
    }
    for key, value in result.items():
        print(f"{key:40}{value}")
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
