"""`janus-md export`: from a training run or a checkpoint to one file for LAMMPS and ASE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_md.cli.options import Arithmetic, Elements, Force, ModelOutput, Precision
from janus_md.cli.outputs import element_symbols, refuse_existing, refuse_other_ending

if TYPE_CHECKING:
    from ase import Atoms


def register(app: typer.Typer) -> None:
    app.command(name="export", help="Write the file that LAMMPS and ASE load.")(export)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, or of a checkpoint.")],
    output: ModelOutput,
    elements: Elements = None,
    precision: Arithmetic = Precision.single,
    force: Force = False,
) -> None:
    """Merge the experts, check the result against the checkpoint and write it."""
    refuse_existing(output, force)
    refuse_other_ending(output)
    symbols = element_symbols(elements)
    from janus_md.export import export_model
    from janus_md.model.checkpoint import load_model
    from janus_md.run_folder import checkpoint_folder
    from janus_training.progress import STATE, read_progress

    folder = checkpoint_folder(run)
    # A checkpoint may be the model alone.
    untrained = (folder / STATE).is_file() and read_progress(folder).step == 0
    frames = run_frames(folder)
    manifest = export_model(
        load_model(folder),
        output,
        elements=symbols,
        precision=precision.value,
        frames=frames,
        overwrite=force,
    )
    checked = "frames of its data" if frames else "a rattled cluster, for want of frames"
    typer.echo(
        f"{folder} -> {output}: {len(manifest.elements)} elements, {manifest.dtype},"
        f" agrees with the checkpoint on {checked}"
    )
    if untrained:
        typer.echo(f"warning: {folder} is from before the first step of training", err=True)


def run_frames(checkpoint: Path) -> list[Atoms]:
    """Frames that the run which wrote ``checkpoint`` kept from its data; empty outside a run."""
    from ase.io import read

    # RUN/checkpoints/best belongs to RUN
    kept = checkpoint.parent.parent / "frames.extxyz"
    return list(read(kept, ":")) if kept.is_file() else []
