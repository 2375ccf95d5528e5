"""`janus-md train`: from a recipe to a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus_md.cli.options import Settings
from janus_md.errors import UserError

EXTRAS = "training needs packages that are not installed; run pip install 'janus-md[train]'"


def register(app: typer.Typer) -> None:
    app.command(name="train", help="Train a model as a recipe says.")(train)


def train(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="YAML file, or the name of a shipped recipe. Not needed with --resume."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run.", show_default=False)
    ] = ...,  # type: ignore[assignment]
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    profile: Annotated[
        int,
        typer.Option(
            "--profile", min=0, help="Steps to record: a trace and a picture in OUTPUT/profile."
        ),
    ] = 0,
) -> None:
    """Train; metrics, checkpoints and report.html go into the output folder.

    With --resume the configuration is the run's own, with any --set on top. Started by torchrun, mpirun or Slurm,
    the ranks train together (see the recipe's part `parallel`); ranks that torchrun starts again resume by themselves.
    """
    # A wrong recipe is refused before torch, which takes seconds, is loaded.
    from janus_training.recipe import load_config
    from janus_training.run import beside_others, launched_again, refuse_used, run_config

    resume = resume or launched_again(output)
    if resume:
        config = run_config(output, settings or [])
    elif recipe is None:
        raise UserError("no recipe is given; name a YAML file, or --resume an existing run")
    else:
        if not beside_others():
            refuse_used(output)
        config = load_config(recipe, settings or [])
    try:
        from janus_training.loop import train as run_training
    except ImportError as fault:
        raise UserError(f"{EXTRAS} ({fault})") from None
    run_training(config, output, resume=resume, profile=profile)
