"""The ``model`` section of a recipe: a preset and overrides, or every field."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from janus_md.errors import UserError
from janus_md.model import ModelConfig, preset
from janus_training.recipe_errors import explain


def resolve_model(section: dict[str, Any], elements: list[str], tasks: list[str]) -> ModelConfig:
    """``ModelConfig`` of the section; ``elements`` and ``tasks`` of the data fill what it leaves out.

    Raises ``UserError`` for an unknown preset or key, or a value that is not right.
    """
    fields = {"elements": elements, "tasks": tasks} | section
    name = fields.pop("preset", None)
    if name is not None:
        return preset(name, **fields)
    try:
        return ModelConfig.model_validate(fields)
    except ValidationError as fault:
        raise UserError(explain(fault, ModelConfig, "recipe", "model.")) from None
