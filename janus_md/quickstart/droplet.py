"""The LAMMPS part of the quickstart: a water droplet on two ranks, first thermostatted, then free."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read
from numpy.typing import NDArray

from janus_md.errors import UserError
from janus_md.lammps.inputs import write_data

TYPES = ["O", "H"]
EVERY = 20
COLUMNS = ("step", "temperature", "potential", "total")

_INPUT = """\
# A water droplet in vacuum: {warm} steps at 300 K, then {free} steps of constant energy.
variable      only index all
units         metal
atom_style    atomic
boundary      s s s
read_data     droplet.data
pair_style    janus
pair_coeff    * * {model} {symbols}
neighbor      1.0 bin
timestep      0.0005

variable      e equal pe
variable      tot equal etotal
variable      t equal temp
thermo        {every}
thermo_style  custom step temp pe etotal
velocity      all create 300 4928 loop geom mom yes rot yes

run           0
print         "$(v_e:%.10f)" file start-energy-${{ranks}}.txt
if            "${{only}} == start" then quit

fix           motion all nve
fix           bath all langevin 300 300 0.05 4711
run           {warm}
unfix         bath

reset_timestep 0
dump          frames all custom {every} droplet.lammpstrj id type element x y z
dump_modify   frames element {symbols} sort id
fix           numbers all print {every} "$(step) $(v_t) $(v_e:%.8f) $(v_tot:%.8f)" &
              file droplet.txt screen no title "# {columns}"
run           {free}
"""


def write_input(folder: Path, droplet: Atoms, model: str, warm: int, free: int) -> Path:
    """``in.droplet`` and ``droplet.data`` in ``folder``; ``model`` is relative to it. Steps of 0.5 fs."""
    boxed = droplet.copy()
    boxed.center(vacuum=10.0)
    write_data(boxed, folder / "droplet.data", types=TYPES)
    symbols = " ".join(TYPES)
    script = folder / "in.droplet"
    script.write_text(
        _INPUT.format(
            model=model,
            symbols=symbols,
            warm=warm,
            free=free,
            every=EVERY,
            columns=" ".join(COLUMNS),
        )
    )
    return script


def start_energy(folder: Path, ranks: int) -> float:
    """Potential energy of the first structure, eV, as LAMMPS saw it on so many ranks."""
    return float((folder / f"start-energy-{ranks}.txt").read_text())


def thermodynamics(folder: Path) -> NDArray[np.float64]:
    """Rows of step, temperature (K), potential and total energy (eV) of the free part."""
    file = folder / "droplet.txt"
    if not file.is_file():
        raise UserError(f"LAMMPS left no {file}: see log.lammps beside it")
    return np.loadtxt(file, ndmin=2)


def drift(rows: NDArray[np.float64], atoms: int) -> float:
    """Slope of the total energy in µeV/atom/ps."""
    picoseconds = rows[:, 0] * 0.0005
    return float(np.polyfit(picoseconds, rows[:, 3], 1)[0] / atoms * 1e6)


def trajectory(folder: Path) -> list[Atoms]:
    """The frames of the free part."""
    frames: list[Atoms] = read(folder / "droplet.lammpstrj", ":", format="lammps-dump-text")
    for frame in frames:
        frame.pbc = False
    return frames
