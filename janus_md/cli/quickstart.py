"""`janus-md quickstart`: the whole path on data it makes itself, ending in a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus_md.cli.options import Settings


def register(app: typer.Typer) -> None:
    app.command(
        name="quickstart",
        help="Label, train, evaluate, export, relax, simulate in LAMMPS and report.",
    )(quickstart)


def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to make.")] = Path(
        "quickstart-run"
    ),
    frames: Annotated[int, typer.Option(help="Structures to learn from.", min=8)] = 360,
    minutes: Annotated[float, typer.Option(help="Time to train.", min=0.01)] = 2.5,
    molecules: Annotated[int, typer.Option(help="Size of the droplet.", min=2)] = 16,
    steps: Annotated[int, typer.Option(help="Steps of 0.5 fs in LAMMPS.", min=40)] = 1000,
    ranks: Annotated[int, typer.Option(help="Ranks of LAMMPS.", min=1)] = 2,
    settings: Settings = None,
) -> None:
    """Makes its data with GFN2-xTB, so that it needs nothing but this installation."""
    from janus_md.quickstart import Size, run_quickstart

    size = Size(
        frames=frames,
        test_frames=max(8, frames // 8),
        train_minutes=minutes,
        molecules=molecules,
        warm_steps=steps // 5,
        free_steps=steps - steps // 5,
        ranks=ranks,
        settings=tuple(settings or ()),
    )
    run_quickstart(output, size, say=lambda line: print(line, flush=True))
