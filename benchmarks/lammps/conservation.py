"""Silicon or liquid water in LAMMPS: total energy over time, 1 rank against 2 ranks, means of an NPT run.

    python benchmarks/lammps/conservation.py silicon.janus.pt --cells 2 --picoseconds 20
    python benchmarks/lammps/conservation.py silicon.janus.pt --cells 2 --equilibrate 1 --replicate 4
    python benchmarks/lammps/conservation.py water.janus.pt --structure water --cells 4 --equilibrate 5 --npt 20

NVE at 300 K with a time step of 0.5 fs: cells³ · 8 atoms of silicon or cells³ molecules of water, which are minimized
first. Prints the drift of the total energy (a straight line through the samples after the first twentieth), the
largest differences of energy and forces between 1 and 2 ranks on the start, and seconds per step. With ``--npt``, so
many ps at constant pressure follow, see ``constant_pressure.py``. ``-o`` writes JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from constant_pressure import EVERY, NPT, figures
from starts import STARTS

from janus_md.export import load_exported
from janus_md.lammps.inputs import input_lines, write_data
from janus_md.lammps.run import run

TIMESTEP = 0.0005
"""ps"""

TEMPERATURE = 300
"""K"""

SINGLE_POINT = """
dump forces all custom 1 {forces} id fx fy fz
dump_modify forces sort id format float %.12g
thermo_style custom step pe press
thermo_modify format float %.12g
run 0
"""

MINIMIZATION = """
min_style fire
minimize 0 1e-1 500 2000
"""

EQUILIBRATION = """
velocity all create 600 87287 mom yes rot no
fix heat all nvt temp {temperature} {temperature} 0.05
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


def thermo(log: Path, table: int = -1) -> np.ndarray:
    """Rows of numbers that follow a ``Step`` line of a LAMMPS log, the last one unless ``table`` says otherwise."""
    lines = log.read_text(encoding="utf-8").splitlines()
    heads = [i for i, line in enumerate(lines) if line.split()[:1] == ["Step"]]
    rows = []
    for line in lines[heads[table] + 1 :]:
        try:
            rows.append([float(word) for word in line.split()])
        except ValueError:
            break
    return np.array(rows)


def in_lammps(folder: Path, setup: list[str], commands: str, ranks: int) -> Path:
    """Run ``commands`` on ``ranks`` ranks; the log's path."""
    script, log = folder / f"in.{ranks}", folder / f"log.{ranks}"
    script.write_text("\n".join(setup) + commands, encoding="utf-8")
    arguments = ["-in", str(script), "-log", str(log), "-screen", "none"]
    if run(arguments, ranks=ranks, cwd=folder).returncode != 0:
        raise SystemExit(log.read_text(encoding="utf-8"))
    return log


def dynamics(options: argparse.Namespace) -> str:
    """Commands of the whole run."""
    steps = round(options.picoseconds / TIMESTEP)
    moving = DYNAMICS.format(
        copies=options.replicate,
        # Without equilibration half of the kinetic energy goes into the positions.
        temperature=TEMPERATURE if options.equilibrate else 2 * TEMPERATURE,
        timestep=TIMESTEP,
        every=max(1, steps // 400),
        steps=steps,
    )
    parts = [MINIMIZATION] if options.structure == "water" else []
    if options.equilibrate:
        heating = round(options.equilibrate / TIMESTEP)
        parts.append(
            EQUILIBRATION.format(temperature=TEMPERATURE, timestep=TIMESTEP, steps=heating)
        )
    parts.append(moving)
    if options.npt:
        parts.append(
            NPT.format(
                temperature=TEMPERATURE,
                pressure=options.pressure,
                every=EVERY,
                steps=round(options.npt / TIMESTEP),
            )
        )
    return "".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", type=Path)
    parser.add_argument("--structure", choices=STARTS, default="silicon")
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--equilibrate", type=float, default=0.0, help="ps of NVT at 300 K before")
    parser.add_argument("--replicate", type=int, default=1, help="copies after it, each way")
    parser.add_argument("--picoseconds", type=float, default=0.2)
    parser.add_argument("--npt", type=float, default=0.0, help="ps of NPT at 300 K afterwards")
    parser.add_argument("--pressure", type=float, default=0.0, help="bar")
    parser.add_argument("--ranks", type=int, default=2, help="for the dynamics")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    atoms = STARTS[options.structure](options.cells)
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
        log = in_lammps(folder, setup, dynamics(options), options.ranks)
        rows = thermo(log, -2 if options.npt else -1)
        held = {}
        if options.npt:
            held = figures(thermo(log), TEMPERATURE, options.pressure)

    count = len(atoms) * options.replicate**3
    settled = rows[len(rows) // 20 :]
    line, covariance = np.polyfit(settled[:, 1], settled[:, 3] / count * 1e6, 1, cov=True)
    result = {
        "model": options.model.name,
        "structure": options.structure,
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
        **held,
    }
    for key, value in result.items():
        print(f"{key:40}{value}")
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
