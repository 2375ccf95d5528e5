"""Checkpoints of a run: whole or absent, whatever kills the process.

    RUN/checkpoints/step-00001200/   model.safetensors + model.json   averaged weights: what is released
                                     training.safetensors             own weights, moments, random state
                                     training.json                    step, sampler position, time, best
    RUN/checkpoints/last, best       links to such folders

A folder is written under another name, flushed, then renamed; a link is replaced in one operation.
Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from janus_md.errors import UserError
from janus_md.model import MatRISMoE, save_model
from janus_md.model.checkpoint import load_weights
from janus_training.ema import Ema
from janus_training.sampler import Position

WEIGHTS, STATE = "training.safetensors", "training.json"


@dataclass
class Progress:
    """Everything of a run that is not a tensor. ``best`` is the lowest score, None before the first."""

    step: int = 0
    position: Position = field(default_factory=Position)
    minutes: float = 0.0
    reserve: float = 0.0
    best: float | None = None


def save_checkpoint(
    run: Path,
    model: MatRISMoE,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    progress: Progress,
    best: bool,
) -> None:
    """Write the present state as ``last``, and as ``best`` too where asked."""
    root = run / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    name = f"step-{progress.step:08d}"
    if not (root / name).exists():
        scratch = root / f".{name}.part"
        shutil.rmtree(scratch, ignore_errors=True)
        with ema.applied():
            save_model(model, scratch)
        save_file(_tensors(model, optimizer), scratch / WEIGHTS)
        (scratch / STATE).write_text(json.dumps(asdict(progress), indent=2) + "\n")
        for file in scratch.iterdir():
            _flush(file)
        scratch.rename(root / name)
    for link in ("last", "best") if best else ("last",):
        _point(root / link, name)
    _remove_unused(root)


def load_checkpoint(
    run: Path, model: MatRISMoE, optimizer: torch.optim.Optimizer, ema: Ema
) -> Progress | None:
    """Restore the last checkpoint in place; None where the run has not written any."""
    folder = run / "checkpoints" / "last"
    if not folder.exists():
        return None
    _remove_unused(folder.parent)
    try:
        averaged = load_weights(folder / "model.safetensors")
        own = load_weights(folder / WEIGHTS)
        _restore(model, optimizer, ema, averaged, own)
    except (OSError, ValueError, KeyError, RuntimeError) as fault:
        raise UserError(
            f"{folder} is incomplete or of another model; restore it from a copy or start a new run"
        ) from fault
    return load_progress(run)


def last_state(run: Path) -> Path:
    """The file that says how far the last checkpoint is."""
    return run / "checkpoints" / "last" / STATE


def load_progress(run: Path) -> Progress | None:
    """How far the last checkpoint is; None where the run has not written any."""
    file = last_state(run)
    if not file.parent.exists():
        return None
    try:
        content = json.loads(file.read_text())
        return Progress(**content | {"position": Position(**content["position"])})
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise UserError(
            f"{file} is missing, damaged or cut off: restore it from a copy or start a new run"
        ) from fault


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{name}.{moment}"] = value
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _restore(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    averaged: dict[str, Tensor],
    own: dict[str, Tensor],
) -> None:
    weights = {n.removeprefix("model."): v for n, v in own.items() if n.startswith("model.")}
    model.load_state_dict(weights)
    parameters = dict(model.named_parameters())
    for name in parameters:
        ema.shadow[name].copy_(averaged[name])
    for key, value in own.items():
        if key.startswith("optimizer."):
            name, moment = key.removeprefix("optimizer.").rsplit(".", 1)
            optimizer.state[parameters[name]][moment] = value.to(parameters[name].device)
    torch.set_rng_state(own["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in own:
        torch.cuda.set_rng_state(own["random.cuda"])


def _flush(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _point(link: Path, target: str) -> None:
    scratch = link.with_name(f".{link.name}.link")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target, target_is_directory=True)
    scratch.replace(link)


def _remove_unused(root: Path) -> None:
    used = {os.readlink(root / link) for link in ("last", "best") if (root / link).is_symlink()}
    for folder in root.glob("*step-*"):
        if folder.name not in used:
            shutil.rmtree(folder, ignore_errors=True)
