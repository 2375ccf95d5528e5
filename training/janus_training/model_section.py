"""The ``model`` section of a recipe: a preset and overrides, or every field."""

from __future__ import annotations

from typing import Any

from janus_md.model import ModelConfig, configure, preset


def resolve_model(section: dict[str, Any], elements: list[str], tasks: list[str]) -> ModelConfig:
    """``ModelConfig`` of the section; ``elements`` and ``tasks`` of the data fill what it leaves out.

    Raises ``UserError`` for an unknown preset or key, or a value that is not right.
    """
    fields = {"elements": elements, "tasks": tasks} | section
    name = fields.pop("preset", None)
    return configure(**fields) if name is None else preset(str(name), **fields)
