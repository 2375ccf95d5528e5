"""`janus-md md`: molecular dynamics through ASE."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from janus_md.cli.inputs import charged_structure
from janus_md.cli.options import Charge, Device, Force, Model, Spin, Structure, Task
from janus_md.cli.outputs import refuse_existing


class Ensemble(StrEnum):
    nve = "nve"
    nvt = "nvt"
    npt = "npt"


def register(app: typer.Typer) -> None:
    app.command(name="md", help="Run molecular dynamics with ASE.")(md)


def md(
    structure: Structure,
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Trajectory: .traj, .extxyz …")],
    ensemble: Annotated[Ensemble, typer.Option(help="What is held constant.")] = Ensemble.nvt,
    temperature: Annotated[float, typer.Option(help="K.", min=0.0)] = 300.0,
    pressure: Annotated[float, typer.Option(help="GPa, for npt.")] = 0.0,
    timestep: Annotated[float, typer.Option(help="fs.", min=1e-6)] = 1.0,
    steps: Annotated[int, typer.Option(help="Number of steps.", min=0)] = 1000,
    every: Annotated[int, typer.Option(help="Write every so many steps.", min=1)] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of velocities and thermostat.")] = 0,
    task: Task = None,
    charge: Charge = None,
    spin: Spin = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Velocities are drawn at the temperature unless the structure carries some."""
    refuse_existing(output, force)
    from janus_md.io.trajectories import TrajectoryWriter

    atoms = charged_structure(structure, charge, spin)
    writer = TrajectoryWriter(output)
    from janus_md.calculators.ase import JanusCalculator
    from janus_md.calculators.dynamics import integrator, kinetic_temperature, start_velocities
    from janus_md.cli.progress import steps_of

    atoms.calc = JanusCalculator(model, device=device, task=task)
    start_velocities(atoms, temperature, seed)
    dynamics = integrator(atoms, ensemble.value, timestep, temperature, pressure, seed)
    atoms.get_forces()  # a model that lacks an element is reported before anything is written
    with writer, steps_of(steps, f"{ensemble.value} {atoms.get_chemical_formula()}") as advance:
        writer.write(atoms)
        done = 0
        while done < steps:
            chunk = min(every, steps - done)
            dynamics.run(chunk)
            done += chunk
            writer.write(atoms)
            energy = atoms.get_total_energy()
            advance(chunk, f"{kinetic_temperature(atoms):.0f} K, total energy {energy:.5f} eV")
    typer.echo(f"{output}: {writer.frames} frames of {len(atoms)} atoms")
