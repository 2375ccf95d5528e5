"""Whole runs inside a process group, to be called on each of its ranks."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist

import janus_training.loop as loop
import janus_training.trainer as trainer
from janus_md.errors import UserError
from janus_md.model import MatRISMoE
from janus_md.model.parts import Parts
from janus_training.checkpoint import Checkpoints
from janus_training.ema import Ema
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Mesh
from janus_training.prepare import filled_in, new_model, prepare
from janus_training.recipe import load_config
from janus_training.run import run_config


def train_each(jobs: list[tuple[Path, Path, list[str]]]) -> None:
    """A run for each (recipe, folder, settings); without the report, which takes most of the time of one so short."""
    trainer.write_report = lambda *_: None
    for recipe, run, settings in jobs:
        loop.train(load_config(recipe, settings), run)


def turn_of_model(recipe: Path, run: Path) -> int:
    """How often all ranks of a unit had waited for each other before this one made its model, on nodes of two ranks."""
    made, waits = [], []
    new, barrier = loop.new_model, Mesh.barrier

    def waited(mesh: Mesh) -> None:
        waits.append(mesh)
        barrier(mesh)

    def noted(*given: Any) -> MatRISMoE:
        made.append(len(waits))
        return new(*given)

    trainer.write_report = lambda *_: None
    rank, size = dist.get_rank(), dist.get_world_size()
    with (
        patch.object(socket, "gethostname", lambda: f"node{rank // 2}"),
        patch.object(loop, "new_model", noted),
        patch.object(Mesh, "barrier", waited),
    ):
        loop.train(load_config(recipe, [f"parallel.unit={size}", "train.steps=1"]), run)
    (turn,) = made
    return turn


def resume(run: Path, settings: list[str]) -> str:
    """Go on with a run; what is said to the user where that is refused."""
    trainer.write_report = lambda *_: None
    try:
        loop.train(run_config(run, settings), run, resume=True)
    except UserError as error:
        return str(error)
    return ""


def save_again(run: Path, other: Path) -> None:
    """Load the last checkpoint of ``run`` in one process and save it as the first one of ``other``."""
    config = run_config(run, ["parallel.unit=1"])
    frames = loop.load_frames(config.data)
    config = filled_in(config, frames)
    janus = Janus(
        new_model(config, prepare(config, frames, torch.device("cpu"))), Mesh(), config.parallel
    )
    optimizer = build_optimizer(janus.model, config.optimiser, 3.0)
    ema = Ema(janus.model, config.ema.decay)
    with (
        Checkpoints(run, janus, optimizer, ema, behind=True) as old,
        Checkpoints(other, janus, optimizer, ema, behind=True) as new,
    ):
        progress = old.load()
        assert progress is not None
        new.save(progress, best=True)
        new.wait()


def tensors_of(run: Path) -> dict[str, torch.Tensor]:
    """Everything in the last checkpoint, whole: weights, moments, averages, random state."""
    found = {}
    for kind in ("training", "model"):
        with closing(Parts(run / "checkpoints" / "last" / f"{kind}.safetensors")) as parts:
            found |= {f"{kind}/{name}": value for name, value in parts.all().items()}
    return found
