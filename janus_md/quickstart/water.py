"""Training data made on the spot: water clusters sampled and labelled with GFN2-xTB.

GFN2-xTB (Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652, 2019), from the package
tblite, is a semi-empirical quantum-mechanical method: a self-consistent field in milliseconds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin
from ase.optimize import LBFGS

from janus_md.calculators.dynamics import start_velocities
from janus_md.errors import UserError

METHOD = "GFN2-xTB"
SPACING = 2.9
"""Å between neighbouring molecules of a fresh cluster, about that of liquid water."""

STEPS_BETWEEN_FRAMES = 15
"""Of 1 fs: by then the fastest vibration has gone round and neighbouring frames differ."""

MAX_FORCE = 20.0
"""eV/Å; frames beyond were not reached by nature but by the random start."""

# Multiplicities of the free atoms' ground states.
_FREE_ATOMS = {"H": 2, "O": 3}


@dataclass(frozen=True)
class Trajectory:
    """What one short simulation contributes: ``frames`` snapshots of ``molecules`` at K."""

    molecules: int
    temperature: float
    frames: int
    seed: int


def cluster(molecules: int, seed: int) -> Atoms:
    """Water molecules on the sites of a cubic lattice nearest to a point, randomly turned."""
    generator = np.random.default_rng(seed)
    # Beyond the ball that holds them by more than the lattice's grain, so that none is left out.
    reach = math.ceil((0.75 * molecules / math.pi) ** (1 / 3)) + 2
    side = range(-reach, reach + 1)
    sites = np.array([(x, y, z) for x in side for y in side for z in side], dtype=float)
    distances = np.linalg.norm(sites - generator.uniform(-0.3, 0.3, 3), axis=1)
    atoms = Atoms()
    for site in sites[np.argsort(distances)[:molecules]]:
        one = molecule("H2O")
        one.rotate(generator.uniform(0, 360), generator.normal(size=3))
        one.translate(SPACING * site - one.get_center_of_mass())
        atoms += one
    return atoms


def gfn2(multiplicity: int = 1) -> Calculator:
    """An ASE calculator for GFN2-xTB; raises ``UserError`` where tblite is not installed."""
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise UserError(
            "the quickstart labels its data with tblite: pip install 'janus-md[quickstart]'"
        ) from error
    return TBLite(method=METHOD, multiplicity=multiplicity, verbosity=0)


def free_atoms() -> list[Atoms]:
    """One isolated atom of each element with its energy."""
    frames = []
    for symbol, multiplicity in _FREE_ATOMS.items():
        atom = Atoms(symbol)
        atom.calc = gfn2(multiplicity)
        frames.append(_labelled(atom))
    return frames


def sample(wanted: Trajectory) -> list[Atoms]:
    """Snapshots of a Langevin simulation with GFN2-xTB, half of them shaken and labelled anew.

    The shaken ones show the model the repulsive walls that dynamics at these temperatures avoids;
    a model that has never seen two molecules too close lets them come there.
    """
    atoms = cluster(wanted.molecules, wanted.seed)
    atoms.calc = gfn2()
    LBFGS(atoms, logfile=None).run(fmax=0.5, steps=40)
    start_velocities(atoms, wanted.temperature, wanted.seed)
    generator = np.random.default_rng(wanted.seed)
    dynamics = Langevin(
        atoms,
        1.0 * units.fs,
        temperature_K=wanted.temperature,
        friction=0.02 / units.fs,
        fixcm=False,
        rng=generator,
    )
    dynamics.run(3 * STEPS_BETWEEN_FRAMES)
    frames: list[Atoms] = []
    while len(frames) < wanted.frames:
        dynamics.run(STEPS_BETWEEN_FRAMES)
        frame = atoms.copy()
        _shake(frame, len(frames), generator)
        frame.calc = gfn2()
        labelled = _labelled(frame)
        if np.abs(labelled.get_forces()).max() < MAX_FORCE:
            frames.append(labelled)
    return frames


def _shake(frame: Atoms, number: int, generator: np.random.Generator) -> None:
    """Of four snapshots leave two, shake the atoms of one, push whole molecules of the other."""
    if number % 4 == 1:
        frame.positions += generator.normal(scale=0.06, size=frame.positions.shape)
    elif number % 4 == 3:
        # Atoms come as O H H, molecule by molecule. Closer together, and each moved as a whole.
        centres = frame.positions[::3]
        pushed = (0.92 * centres - centres) + generator.normal(scale=0.25, size=centres.shape)
        frame.positions += np.repeat(pushed, 3, axis=0)


def plan(frames: int, first_seed: int) -> list[Trajectory]:
    """Trajectories of clusters of 1 to 12 molecules at 250 to 600 K, ``frames`` snapshots in all."""
    sizes = (1, 2, 3, 4, 6, 8, 10, 12)
    temperatures = (300.0, 450.0, 250.0, 600.0, 350.0)
    per_trajectory = max(3, min(12, frames // len(sizes)))
    jobs: list[Trajectory] = []
    while (left := frames - sum(job.frames for job in jobs)) > 0:
        number = len(jobs)
        jobs.append(
            Trajectory(
                molecules=sizes[number % len(sizes)],
                temperature=temperatures[number % len(temperatures)],
                frames=min(per_trajectory, left),
                seed=first_seed + number,
            )
        )
    return jobs


def sample_all(
    jobs: Sequence[Trajectory], workers: int, advance: Callable[[int], None]
) -> list[list[Atoms]]:
    """The frames of each trajectory, in the order of ``jobs``; ``advance`` gets frames done."""
    results: list[list[Atoms]] = [[] for _ in jobs]
    # Long ones first, so that no worker is left alone with one at the end.
    order = sorted(range(len(jobs)), key=lambda index: -jobs[index].molecules)
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(sample, jobs[index]): index for index in order}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
            advance(jobs[futures[future]].frames)
    return results


def _one_thread() -> None:
    """One thread per worker: threads that wait for each other would cost more than they give."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read by tblite when it is imported, later


def _labelled(atoms: Atoms) -> Atoms:
    """The atoms with energy and forces of their calculator, and nothing else."""
    bare = Atoms(atoms.symbols, positions=atoms.positions)
    bare.calc = SinglePointCalculator(
        bare, energy=atoms.get_potential_energy(), forces=atoms.get_forces()
    )
    return bare
