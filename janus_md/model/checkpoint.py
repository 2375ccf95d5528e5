"""A model on disk: ``model.safetensors`` and ``model.json`` in one folder. Loading runs no code."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from janus_md.errors import UserError
from janus_md.model.config import ModelConfig
from janus_md.model.matris import MatRISMoE

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
FORMAT_VERSION = 2


def save_model(model: MatRISMoE, folder: str | Path) -> None:
    """Write weights and configuration into ``folder``, which is made if need be."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    description = {"format_version": FORMAT_VERSION, "model": model.config.model_dump()}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_model(folder: str | Path) -> MatRISMoE:
    """The model that :func:`save_model` wrote, on the CPU, in the floating-point type it was saved in.

    Raises:
        UserError: a file is missing, damaged or of another format.
    """
    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing: {folder} is not a model checkpoint")
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        version = description["format_version"]
        if version > FORMAT_VERSION:
            raise UserError(
                f"{folder / DESCRIPTION} has format version {version}, newer than {FORMAT_VERSION}: update janus-md"
            )
        if version < FORMAT_VERSION:
            raise UserError(
                f"{folder / DESCRIPTION} has format version {version}, this is {FORMAT_VERSION}: train the model again"
            )
        config = ModelConfig(**description["model"])
        state = load_file(folder / WEIGHTS)
    except (ValueError, KeyError, TypeError, ValidationError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{folder} holds a damaged model checkpoint ({reason}): copy it again"
        ) from None
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
