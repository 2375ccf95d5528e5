"""`janus-md export`: from a training run or a checkpoint to one file for LAMMPS and ASE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus_md.cli.outputs import Precision, refuse_existing, split_symbols


def register(app: typer.Typer) -> None:
    app.command(name="export", help="Write the file that LAMMPS and ASE load.")(export)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, or of a checkpoint.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: *.janus.pt.")],
    elements: Annotated[
        list[str] | None,
        typer.Option("--elements", "-e", help="Elements to keep, e.g. -e Si -e O; default all."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Arithmetic of the exported model.")
    ] = Precision.single,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Merge the experts, check the result against the checkpoint and write it."""
    refuse_existing(output, force)
    from janus_md.export import export_model
    from janus_md.calculators.source import checkpoint_folder
    from janus_md.model.checkpoint import load_model

    folder = checkpoint_folder(run)
    model = load_model(folder)
    export_model(
        model,
        output,
        elements=split_symbols(elements),
        precision=precision.value,
        frames=validation_frames(run),
    )
    typer.echo(f"{folder} -> {output}")
