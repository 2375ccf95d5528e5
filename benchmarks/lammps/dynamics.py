"""Short molecular dynamics, timed: through ASE or in a LAMMPS process. Needs only ASE: it runs in peers' environments.

What every ``dynamics_*.py`` is called with:

    python benchmarks/lammps/dynamics_NAME.py METHOD SYSTEM STEPS LIMIT_S MEMORY_GB

NVE from 300 K with 0.5 fs. One JSON object is printed: processor and wall seconds per step after the warm-ups, the peak
of the process's memory, and how much of it came after everything had been imported or loaded.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import ase
from ase import units
from ase.calculators.calculator import Calculator
from ase.io.lammpsdata import write_lammps_data
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from measure import peak_mb
from structures import SYSTEMS

TIMESTEP_FS = 0.5
TEMPERATURE = 300
"""K"""

WARM_UPS = 3
"""Steps before the measured ones: TorchScript, which e3nn uses, compiles in the first calls."""

INPUT = """
units metal
atom_style atomic
read_data data.lmp
{pair}
neighbor 1.0 bin
velocity all create {temperature} 4928459
fix move all nve
timestep {timestep}
run {warm_ups}
run {steps}
"""


def arguments() -> tuple[str, ase.Atoms, int, float]:
    """Method, structure, steps and limit of processor seconds; the limit of memory holds from here on."""
    method, system, steps, limit, gigabytes = sys.argv[1:]
    most = int(float(gigabytes) * 1024**3)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return method, SYSTEMS[system](), int(steps), float(limit)


def through_ase(build: Callable[[str, ase.Atoms], Calculator]) -> None:
    """``build``: method and structure → its calculator."""
    before = peak_mb()
    method, atoms, steps, limit = arguments()
    atoms.calc = build(method, atoms)
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE)
    dynamics = VelocityVerlet(atoms, TIMESTEP_FS * units.fs)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + limit) + 1, hard))
    dynamics.run(WARM_UPS)
    times = []
    for _ in range(steps):
        cpu, wall = time.process_time(), time.perf_counter()
        dynamics.run(1)
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu_s, wall_s = (statistics.median(column) for column in zip(*times, strict=True))
    say(atoms, cpu_s, wall_s, peak_mb(), before)


def in_lammps(
    lmp: Path, environment: Mapping[str, str], model: Path, pair: str,
    atoms: ase.Atoms, steps: int, limit: float,
) -> None:  # fmt: skip
    """``pair``: the input lines of the potential, whose file ``model`` lies in the folder where LAMMPS runs.

    One process without ``mpirun``. Memory at its start is that of LAMMPS with its plugins loaded.
    """
    folder = model.parent
    types = sorted(set(atoms.symbols))
    write_lammps_data(str(folder / "data.lmp"), atoms, specorder=types, masses=True)
    values = {"temperature": TEMPERATURE, "timestep": TIMESTEP_FS / 1000, "warm_ups": WARM_UPS}
    runs = {"empty": "units metal\n", "full": INPUT.format(pair=pair, steps=steps, **values)}
    peaks, log = {}, ""
    for name, text in runs.items():
        (folder / "in.lmp").write_text(text)
        peaks[name], log = _watched([str(lmp), "-in", "in.lmp"], environment, folder, limit)
    wall_s = float(re.findall(r"Loop time of (\S+) on", log)[-1]) / steps
    used = float(re.findall(r"([\d.]+)% CPU use", log)[-1]) / 100
    say(atoms, used * wall_s, wall_s, peaks["full"], peaks["empty"])


def say(atoms: ase.Atoms, cpu_s: float, wall_s: float, peak: float, before: float) -> None:
    figures = {
        "atoms": len(atoms),
        "cpu_s": round(cpu_s, 5),
        "wall_s": round(wall_s, 5),
        "atom_steps_per_s": round(len(atoms) / cpu_s, 1),
        "peak_mb": round(peak),
        "above_imports_mb": round(peak - before),
    }
    print(json.dumps(figures), flush=True)


def _watched(
    command: list[str], environment: Mapping[str, str], folder: Path, limit: float
) -> tuple[float, str]:
    """Peak of its memory in MB and what it printed. The rusage of a child would count its parent's memory, too."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), stdout=log, stderr=subprocess.STDOUT
        )
        seconds = int(limit) + 1
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        peak = 0.0
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            # A process that has ended but was not polled yet has no memory to tell of.
            if found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text()):
                peak = int(found[1]) / 1024
            time.sleep(0.02)
        log.seek(0)
        printed = log.read()
    if process.returncode == -signal.SIGXCPU:
        signal.raise_signal(signal.SIGXCPU)
    if process.returncode != 0:
        raise SystemExit(printed)
    return peak, printed
