"""Training runs under torchrun, and what they wrote. A finished run is not done again, and none is ever removed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from janus_md.errors import UserError
from janus_training.config import Config
from janus_training.ending import what_is_finished
from janus_training.metrics import read_metrics
from janus_training.model_section import resolve_model
from janus_training.recipe import parse_config
from janus_training.run import run_config
from janus_training.schedule import Clock

Rows = list[dict[str, Any]]
Run = tuple[dict[str, Any], int, Path]
"""Recipe, ranks and folder."""


def trained(recipe: dict[str, Any], ranks: int, folder: Path) -> Rows:
    """``metrics.jsonl`` of a run of ``recipe`` on so many ranks, one thread each, which ``folder`` may hold already.

    Raises:
        UserError: ``folder`` is something else.
    """
    if is_done(recipe, ranks, folder):
        print(f"{folder}: this run is there, so it is not done again", flush=True)
    else:
        _train(_on_ranks(recipe, ranks), ranks, folder)
    return read_metrics(folder)


def all_trained(runs: Mapping[str, Run]) -> Iterator[tuple[str, Rows]]:
    """Each name and what ``trained`` returns for its recipe, ranks and folder, in turn.

    Raises:
        UserError: a folder is something else, before hours have gone into the others.
    """
    for run in runs.values():
        is_done(*run)
    for name, run in runs.items():
        yield name, trained(*run)


def is_done(recipe: dict[str, Any], ranks: int, folder: Path) -> bool:
    """Whether ``folder`` holds that run to its end; False where there is no such folder.

    Raises:
        UserError: it is something else, which nobody has asked to remove.
    """
    if not folder.exists():
        return False
    wanted = parse_config(_on_ranks(recipe, ranks), "the recipe")
    if not _holds(folder, wanted):
        raise UserError(
            f"{folder} is not a finished run of what is asked for; remove it, or give another folder with --runs"
        )
    return True


def _holds(folder: Path, wanted: Config) -> bool:
    """Whether ``folder`` is a run of ``wanted``, which ends by steps, from its beginning to its end."""
    try:
        held = run_config(folder, [])
        # Elements and tasks that a recipe leaves out are those of its data.
        known = (held.model.get(name, []) for name in ("elements", "tasks"))
        model = resolve_model(wanted.model, *known).model_dump(mode="json")
        # The number of batches in an epoch does not matter where the end is a number of steps.
        finished = what_is_finished(folder, wanted.train, 1, Clock())
    except UserError:  # no run, or one that cannot be read
        return False
    changed = any(folder.glob("config-until-step-*.yaml"))
    return bool(finished) and not changed and held == wanted.model_copy(update={"model": model})


def _on_ranks(recipe: dict[str, Any], ranks: int) -> dict[str, Any]:
    """The recipe with the number of units, so that what is kept of it tells on how many ranks it ran."""
    unit = recipe.get("parallel", {}).get("unit", 1)
    return deep(recipe, parallel={"replicate": ranks // unit})


def _train(recipe: dict[str, Any], ranks: int, folder: Path) -> None:
    command = ["torch.distributed.run", "--nproc-per-node", str(ranks), "--rdzv-backend", "c10d",
               "--rdzv-endpoint", "localhost:0", "-m", "janus_md.cli.main"]  # fmt: skip
    launch = command if ranks > 1 else ["janus_md.cli.main"]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe))
        subprocess.run(
            [sys.executable, "-m", *launch, "train", str(file), "-o", str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            check=True,
        )


def deep(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A recipe with some parts changed: ``train={"steps": 3}`` changes that key of the part only."""
    return base | {
        part: base.get(part, {}) | value if isinstance(value, dict) else value
        for part, value in changes.items()
    }
