"""Many short LAMMPS runs in one process per number of ranks: starting LAMMPS costs more than the runs do.

Each scenario begins with ``clear`` and leaves a log and a dump of its last step, which a test compares with ASE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.stress import voigt_6_to_full_3x3_stress

from janus_md.lammps import write_data
from janus_md.lammps.inputs import boundary as boundary_of
from janus_md.lammps.inputs import type_order
from lammps_support.runs import BAR, Outcome, janus_pair, run_lammps

RANKS = (1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3)), 4)

REPORT = (
    "compute energies all pe/atom pair",
    "compute stresses all stress/atom NULL pair",
    "compute virial all pressure NULL virial",
    "thermo_style custom step pe c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] c_virial[6] vol",
    "thermo_modify format float %.17g norm no flush yes",
    "dump results all custom 4 {name}.*.dump id type x y z fx fy fz c_energies c_stresses[*]",
    "dump_modify results sort id format float %.17g",
)
"""Commands before the steps whose last one is compared: a multiple of four, or the last of a minimization."""

REPORTED = "# reported from here"
"""Stands in a scenario's commands where :data:`REPORT` goes; at their beginning if it is missing."""

NVE = (
    "velocity all create 900 5 loop geom",
    "timestep 0.001",
    "neighbor 0.4 bin",
    "neigh_modify every 1 delay 0 check yes",
    "fix motion all nve",
)


@dataclass(frozen=True)
class Scenario:
    """A structure and what is done with it.

    Attributes:
        atoms: what the data file holds, or commands that make box and atoms.
        commands: NAME stands for the scenario's name, MODEL for the model's path.
        before: commands before the box. pair: pair style, instead of the model alone.
        types: element of each type; those of the structure if None.
    """

    atoms: ase.Atoms | Sequence[str]
    commands: Sequence[str]
    boundary: str | None = None
    before: Sequence[str] = ()
    types: Sequence[str] | None = None
    pair: Sequence[str] | None = None
    units: str = "metal"
    style: str = "atomic"

    @property
    def order(self) -> list[str]:
        return list(self.types or type_order(self.atoms))

    def periodicity(self) -> str:
        made_here = not isinstance(self.atoms, ase.Atoms)
        return self.boundary or ("p p p" if made_here else boundary_of(self.atoms))

    def made(self, name: str, folder: Path) -> list[str]:
        """Commands that make box and atoms."""
        if not isinstance(self.atoms, ase.Atoms):
            return list(self.atoms)
        write_data(self.atoms, folder / f"{name}.data", self.order, self.units)
        return [f"read_data {name}.data"]

    def lines(self, name: str, model: Path, folder: Path) -> list[str]:
        commands = list(self.commands)
        if REPORTED not in commands:
            commands.insert(0, REPORTED)
        place = commands.index(REPORTED)
        commands[place : place + 1] = [line.format(name=name) for line in REPORT]
        return [
            "clear",
            f"log {name}.log",
            f"units {self.units}",
            f"atom_style {self.style}",
            f"boundary {self.periodicity()}",
            *self.before,
            *self.made(name, folder),
            *(
                line.replace("MODEL", str(model))
                for line in self.pair or janus_pair(model, self.order)
            ),
            *(line.replace("NAME", name).replace("MODEL", str(model)) for line in commands),
        ]


@dataclass(frozen=True)
class Results:
    """What the scenarios of one LAMMPS process left behind."""

    folder: Path
    scenarios: Mapping[str, Scenario]
    output: str

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        assert path.is_file(), f"LAMMPS did not come to {name}:\n{self.output[-3000:]}"
        return path.read_text()

    def last(self, name: str) -> tuple[Outcome, ase.Atoms]:
        """The last step of a scenario, and its structure."""
        return last_step(self.folder, name, self.log(name), self.scenarios[name].order)


def run_scenarios(
    scenarios: Mapping[str, Scenario], model: Path, folder: Path, ranks: int
) -> Results:
    lines = [
        line for name, scenario in scenarios.items() for line in scenario.lines(name, model, folder)
    ]
    done = run_lammps(lines, folder, ranks)
    return Results(folder, scenarios, done.stdout + done.stderr)


def last_step(folder: Path, name: str, log: str, order: Sequence[str]) -> tuple[Outcome, ase.Atoms]:
    rows = thermo(log)
    assert rows, f"no step was finished:\n{log[-3000:]}"
    _, energy, *pressure, volume = rows[-1]
    pxx, pyy, pzz, pxy, pxz, pyz = -np.array(pressure) * BAR
    dump = max(folder.glob(f"{name}.*.dump"), key=lambda path: int(path.name.split(".")[-2]))
    atoms = read_dump(dump, order)
    found = Outcome(
        energy=energy,
        stress=voigt_6_to_full_3x3_stress([pxx, pyy, pzz, pyz, pxz, pxy]),
        volume=volume,
        positions=atoms.positions,
        forces=atoms.get_forces() if len(atoms) else np.zeros((0, 3)),
        energies=column(atoms, "c_energies"),
        atom_stresses=np.stack([column(atoms, f"c_stresses[{i}]") for i in range(1, 7)], 1) * BAR,
        log=log,
    )
    return found, atoms


def thermo(log: str) -> list[list[float]]:
    """Rows of numbers of the last run in a log."""
    rows: list[list[float]] = []
    for line in log.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            rows = []
        elif words and re.fullmatch(r"\d+", words[0]) and len(words) > 1:
            try:
                rows.append([float(word) for word in words])
            except ValueError:
                continue
    return rows


def read_dump(path: Path, order: Sequence[str]) -> ase.Atoms:
    if int(path.read_text().splitlines()[3]) == 0:
        return ase.Atoms()
    return ase.io.read(path, format="lammps-dump-text", specorder=list(order))


def column(atoms: ase.Atoms, name: str) -> np.ndarray:
    return atoms.arrays[name].ravel() if len(atoms) else np.zeros(0)
