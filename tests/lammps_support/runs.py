"""Running LAMMPS on a structure and comparing what it prints with the ASE calculator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress

from janus_md import JanusCalculator
from janus_md.lammps import run, write_data
from janus_md.lammps.inputs import boundary as boundary_of
from janus_md.lammps.inputs import type_order

BAR = 1.0 / 1.6021765e6
"""eV/Å³, with LAMMPS's own constant."""

TIME_LIMIT = 120
"""s; a rank that waits for one that failed would take for ever."""

REPORT = [
    "compute energies all pe/atom pair",
    "compute stresses all stress/atom NULL pair",
    "compute virial all pressure NULL virial",
    "thermo_style custom step pe c_virial[1] c_virial[2] c_virial[3] c_virial[4] c_virial[5] c_virial[6] vol",
    "thermo_modify format float %.15g norm no",
    "dump results all custom 1 results.* id x y z fx fy fz c_energies c_stresses[*]",
    "dump_modify results sort id format float %.17g",
]


@dataclass
class Outcome:
    """The last step of a run in ASE's units and order; per-atom stresses are LAMMPS's (eV, xx yy zz xy xz yz)."""

    energy: float
    stress: np.ndarray
    volume: float
    positions: np.ndarray
    forces: np.ndarray
    energies: np.ndarray
    atom_stresses: np.ndarray
    log: str


def run_lammps(
    lines: Sequence[str], folder: Path, ranks: int = 1, arguments: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    (folder / "in.lmp").write_text("\n".join(lines) + "\n")
    return run(["-in", "in.lmp", *arguments], ranks, cwd=folder, capture=True, timeout=TIME_LIMIT)


def setup(
    atoms: ase.Atoms,
    folder: Path,
    pair: Sequence[str],
    types: Sequence[str] | None = None,
    boundary: str | None = None,
    units: str = "metal",
    before: Sequence[str] = (),
) -> list[str]:
    """Data file and input up to the pair style."""
    folder.mkdir(parents=True, exist_ok=True)
    write_data(atoms, folder / "data.lmp", types or type_order(atoms), units)
    return [
        f"units {units}",
        "atom_style atomic",
        f"boundary {boundary or boundary_of(atoms)}",
        *before,
        "read_data data.lmp",
        *pair,
    ]


def janus_pair(model: Path, types: Sequence[str], style: str = "") -> list[str]:
    return [f"pair_style janus {style}", f"pair_coeff * * {model} {' '.join(types)}"]


def in_lammps(
    atoms: ase.Atoms,
    model: Path,
    folder: Path,
    ranks: int = 1,
    types: Sequence[str] | None = None,
    style: str = "",
    commands: Sequence[str] = ("run 0",),
    **layout: object,
) -> Outcome:
    types = types or type_order(atoms)
    lines = setup(atoms, folder, janus_pair(model, types, style), types, **layout)
    return reported(lines, folder, ranks, commands)


def reported(
    lines: Sequence[str], folder: Path, ranks: int = 1, commands: Sequence[str] = ("run 0",)
) -> Outcome:
    """Run an input that ends with its pair style, then ``commands``."""
    return outcome(folder, completed([*lines, *REPORT, *commands], folder, ranks))


def completed(
    lines: Sequence[str], folder: Path, ranks: int = 1, arguments: Sequence[str] = ()
) -> str:
    """What LAMMPS prints; the run must succeed."""
    done = run_lammps(lines, folder, ranks, arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def peak_memory(lines: Sequence[str], folder: Path) -> int:
    """Bytes that LAMMPS held at most in one process that ran ``lines``."""
    # A process of its own: the peak that the system tells is that of all children it ever had.
    program = (
        "import resource\n"
        "from pathlib import Path\n"
        "from lammps_support.runs import completed\n"
        f"completed({list(lines)!r}, Path({str(folder)!r}))\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return 1024 * int(done.stdout)


def outcome(folder: Path, log: str) -> Outcome:
    lines = log.splitlines()
    last = max(i for i, line in enumerate(lines) if line.startswith("Loop time"))
    thermo = [float(word) for word in lines[last - 1].split()]
    dump = max(folder.glob("results.*"), key=lambda path: int(path.suffix[1:]))
    table = np.loadtxt(dump, skiprows=9, ndmin=2)
    pxx, pyy, pzz, pxy, pxz, pyz = -np.array(thermo[2:8]) * BAR
    return Outcome(
        energy=thermo[1],
        stress=voigt_6_to_full_3x3_stress([pxx, pyy, pzz, pyz, pxz, pxy]),
        volume=thermo[8],
        positions=table[:, 1:4],
        forces=table[:, 4:7],
        energies=table[:, 7],
        atom_stresses=table[:, 8:14] * BAR,
        log=log,
    )


def in_ase(atoms: ase.Atoms, model: Path, task: str | None = None) -> ase.Atoms:
    """A copy with the calculator's results."""
    copy = atoms.copy()
    copy.calc = JanusCalculator(model, device="cpu", task=task)
    copy.get_potential_energy()
    return copy


def assert_agrees(found: Outcome, expected: ase.Atoms, precision: str = "double") -> None:
    """The bounds of the project: 1e-6 eV and 1e-5 eV/Å in single, 1e-9 in double precision (energies per atom)."""
    energy, force = (1e-9, 1e-9) if precision == "double" else (1e-6, 1e-5)
    results = expected.calc.results
    assert found.energy == _near(results["energy"], energy * len(expected))
    np.testing.assert_allclose(found.forces, results["forces"], rtol=0, atol=force)
    np.testing.assert_allclose(found.energies, results["energies"], rtol=1e-12, atol=energy)
    if "stress" in results:
        stress = voigt_6_to_full_3x3_stress(results["stress"])
        scale = 1.0 if precision == "double" else 1e4
        np.testing.assert_allclose(found.stress, stress, rtol=1e-9, atol=1e-10 * scale)
        xx, yy, zz, yz, xz, xy = results["stresses"].T * expected.get_volume()
        np.testing.assert_allclose(
            found.atom_stresses, np.stack([xx, yy, zz, xy, xz, yz], 1), rtol=1e-9, atol=1e-8 * scale
        )


def _near(value: float, bound: float) -> object:
    import pytest

    return pytest.approx(value, rel=1e-14, abs=bound)
