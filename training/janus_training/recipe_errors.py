"""A pydantic fault as one sentence that names the key and, where it is unknown, the nearest one."""

from __future__ import annotations

import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from janus_md.errors import nearest


def explain(fault: ValidationError, model: type[BaseModel], source: str, prefix: str = "") -> str:
    """One sentence about the first fault, with the nearest name for an unknown key."""
    error = fault.errors()[0]
    names = [str(part) for part in error["loc"]]
    key = prefix + ".".join(name for name in names if not name.isidentifier() or name[0].islower())
    if error["type"] == "extra_forbidden":
        fields = _fields_at(model, error["loc"][:-1])
        return f"{source}: unknown key '{key}'{nearest(names[-1], fields)}; correct or remove it"
    if error["type"] == "missing":
        return f"{source}: key '{key}' is missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    value = "" if isinstance(error["input"], dict) else f" (it is {error['input']!r})"
    return f"{source}: '{key or 'recipe'}' is not right: {message}{value}"


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The field names of the (nested) model in which an error lies."""
    current: Any = model
    for part in location:
        if isinstance(part, int):
            continue
        models = _models_in(current)
        found = [candidate for candidate in models if part in candidate.model_fields]
        if found:
            current = found[0].model_fields[part].annotation
    models = _models_in(current)
    return [name for candidate in models for name in candidate.model_fields]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, list, tuple):
        return [model for inner in get_args(annotation) for model in _models_in(inner)]
    return []
