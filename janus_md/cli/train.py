"""`janus-md train`: from a recipe to a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_md.cli.options import Settings
from janus_md.errors import UserError

if TYPE_CHECKING:
    from janus_training.config import Config

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
    the ranks train together (see the recipe's part `parallel`); started again by torchrun or Slurm, they resume by
    themselves.
    """
    # A wrong recipe is refused before torch, which takes seconds, is loaded.
    try:
        config = _configuration(recipe, output, settings or [], resume)
    except UserError as error:
        _among_others(error)
        raise
    try:
        from janus_training.loop import train as run_training
    except ImportError as fault:
        raise UserError(f"{EXTRAS} ({fault})") from None
    run_training(config, output, resume=resume, profile=profile)


def _configuration(recipe: Path | None, output: Path, settings: list[str], resume: bool) -> Config:
    from janus_training.launcher import launcher
    from janus_training.recipe import load_config
    from janus_training.run import launched_again, refuse_used, run_config

    if resume and recipe is not None:
        raise UserError(
            f"--resume goes on with the configuration in {output}; leave out {recipe} and give changes with --set"
        )
    if resume:
        return run_config(output, settings)
    if recipe is None:
        raise UserError("no recipe is given; name a YAML file, or --resume an existing run")
    # Another rank may be further and have made the folder.
    if launcher() is None and not launched_again(output):
        refuse_used(output)
    return load_config(recipe, settings)


def _among_others(error: UserError) -> None:
    """Let one of several ranks speak."""
    from janus_training.launcher import launcher

    if launcher() is not None:
        from janus_training.parallel.launch import settle_who_speaks

        settle_who_speaks(error)
