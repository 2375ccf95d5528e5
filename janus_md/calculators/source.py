"""What a path to a model may be: an exported file, a checkpoint, or the folder of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import DTypeLike

from janus_md.errors import UserError, nearest
from janus_md.export import load_exported
from janus_md.export.model_file import convert
from janus_md.model import MatRISMoE
from janus_md.model.checkpoint import load_model
from janus_md.run_folder import checkpoint_folder

DTYPES = {"float32": torch.float32, "float64": torch.float64}

Precision: TypeAlias = str | torch.dtype | DTypeLike


@dataclass(frozen=True)
class Source:
    """A model ready to evaluate, and what the calculator needs to know of it; lengths in Å."""

    path: Path
    model: MatRISMoE | torch.jit.ScriptModule
    cutoff: float
    line_cutoff: float
    elements: list[str]
    tasks: list[str]
    magmoms: bool
    uses_charge: bool
    uses_spin: bool


def open_source(path: str | Path, device: str = "auto", dtype: Precision | None = None) -> Source:
    """Load a model onto ``device`` ("auto", "cpu", "cuda", "cuda:1").

    ``dtype`` ("float32" or "float64", or torch's or numpy's) is the arithmetic of the model; None is that
    of the file.
    """
    path = Path(path)
    name = None if dtype is None else _name_of(dtype)
    target = choose_device(device)
    if path.is_dir():
        return _open_checkpoint(checkpoint_folder(path), target, name)
    return _open_exported(path, target, name)


def _name_of(dtype: Precision) -> str:
    try:
        name = str(dtype) if isinstance(dtype, torch.dtype) else np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    name = name.removeprefix("torch.")
    if name not in DTYPES:
        raise UserError(f"dtype '{name}' is unknown{nearest(name, DTYPES)}")
    return name


def choose_device(name: str) -> torch.device:
    """ "auto" is the GPU where there is one; raises ``UserError`` for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device '{name}' is unknown: give auto, cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device '{name}' is not one that models run on: give auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device '{name}' is not available here: give another, cpu or auto")
    return device


def _open_checkpoint(folder: Path, device: torch.device, dtype: str | None) -> Source:
    model = load_model(folder).to(device).eval().requires_grad_(False)
    if dtype is not None:
        model = model.to(DTYPES[dtype])
    config = model.config
    return Source(
        path=folder,
        model=model,
        cutoff=config.cutoff,
        line_cutoff=config.line_cutoff,
        elements=list(config.elements),
        tasks=list(config.tasks),
        magmoms=config.magmoms,
        uses_charge=config.charge,
        uses_spin=config.spin,
    )


def _open_exported(path: Path, device: torch.device, dtype: str | None) -> Source:
    potential = load_exported(path, device)
    manifest = potential.manifest
    if dtype is not None:
        convert(potential.module, DTYPES[dtype])
    return Source(
        path=path,
        model=potential.module,
        cutoff=manifest.cutoff,
        line_cutoff=manifest.line_cutoff,
        elements=list(manifest.elements),
        tasks=list(manifest.tasks),
        magmoms=manifest.magmoms,
        uses_charge=manifest.uses_charge,
        uses_spin=manifest.uses_spin,
    )
