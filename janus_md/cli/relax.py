"""`janus-md relax`: positions, and the cell if asked, to a minimum of the energy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus_md.cli.inputs import charged_structure
from janus_md.cli.options import Charge, Device, Force, Model, Spin, Structure, Task
from janus_md.cli.outputs import refuse_existing


def register(app: typer.Typer) -> None:
    app.command(name="relax", help="Relax a structure.")(relax)


def relax(
    structure: Structure,
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="Relaxed structure.")],
    cell: Annotated[bool, typer.Option("--cell", help="Relax the cell too.")] = False,
    fmax: Annotated[float, typer.Option(help="Stop below this force, eV/Å.", min=0.0)] = 0.02,
    steps: Annotated[int, typer.Option(help="At most this many steps.", min=0)] = 500,
    task: Task = None,
    charge: Charge = None,
    spin: Spin = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Relax with FIRE and write the result; the energy and the largest force are printed.

    Exits with 1 where the structure that is written has not converged.
    """
    refuse_existing(output, force)
    from janus_md.io.structures import check_writable, write_structure

    atoms = charged_structure(structure, charge, spin)
    check_writable(output, atoms)
    from janus_md.calculators.ase import JanusCalculator
    from janus_md.calculators.relaxation import relax as relax_atoms

    atoms.calc = JanusCalculator(model, device=device, task=task)
    outcome = relax_atoms(
        atoms, cell=cell, fmax=fmax, steps=steps, report=lambda line: typer.echo(line)
    )
    write_structure(output, outcome.atoms)
    state = "converged" if outcome.converged else f"NOT converged in {steps} steps"
    stress = "" if outcome.stress is None else f", largest stress {outcome.stress:.2g} eV/Å³"
    typer.echo(
        f"{output}: {state}, energy {outcome.energy:.6f} eV, largest force {outcome.fmax:.4f} eV/Å{stress}"
    )
    if not outcome.converged:
        raise typer.Exit(1)
