"""A model on disk: ``model.safetensors`` (or parts of it) and ``model.json`` in a folder. Loading runs no code."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import torch

from janus_md.errors import UserError
from janus_md.model.config import ModelConfig
from janus_md.model.matris import MatRISMoE
from janus_md.model.parts import Parts, damaged, is_written, write_part
from janus_md.run_folder import DESCRIPTION

WEIGHTS = "model.safetensors"
FORMAT_VERSION = 2


def save_model(model: MatRISMoE, folder: str | Path) -> None:
    """Write weights and configuration into ``folder``, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_part(folder / WEIGHTS, state)
    write_description(model, folder)


def write_description(model: MatRISMoE, folder: Path) -> None:
    """The configuration, without the weights."""
    description = {"format_version": FORMAT_VERSION, "model": model.config.model_dump()}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_model(folder: str | Path) -> MatRISMoE:
    """The model that :func:`save_model` wrote, on the CPU, in the floating-point type it was saved in.

    Raises:
        UserError: a file is missing, damaged or of a newer format.
    """
    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not is_written(folder / name):
            raise UserError(f"{folder / name} is missing: {folder} is not a model checkpoint")
    config = load_description(folder)
    with closing(Parts(folder / WEIGHTS)) as parts:
        state = parts.all()
    with torch.device("meta"):
        model = MatRISMoE(config)
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError:
        raise UserError(
            f"the weights in {folder / WEIGHTS} do not fit the model described beside them: copy both again"
        ) from None
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def load_description(folder: str | Path) -> ModelConfig:
    """The configuration of the model in ``folder``, without its weights; raises ``UserError`` as :func:`load_model`."""
    file = Path(folder) / DESCRIPTION
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        version = description["format_version"]
        if version > FORMAT_VERSION:
            raise UserError(
                f"{file} has format version {version}, this janus-md reads {FORMAT_VERSION}: update janus-md"
            )
        if version < FORMAT_VERSION:
            raise UserError(
                f"{file} has format version {version}, this janus-md reads {FORMAT_VERSION}: train the model again"
            )
        return ModelConfig(**description["model"])
    except (ValueError, KeyError, TypeError):  # pydantic's and json's faults are ValueErrors
        raise damaged(file) from None
