"""A pydantic fault as one sentence of ours: the key, its value, and what may stand there."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from janus_md.errors import nearest

_SECTION = "keys and values"
# What pydantic calls each fault, without `_type`, `_parsing` and the like, and what to give instead.
_WANTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": _SECTION,
    "model": _SECTION,
    "model_attributes": _SECTION,
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "a number not below {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number not above {le:g}",
    "literal_error": "{expected}",
    "string_too_short": "a text that is not empty",
    "too_short": "a list of {min_length} or more entries",
    "too_long": "a list of {max_length} entries",
}


def explain(fault: ValidationError, model: type[BaseModel], section: str = "") -> str:
    """One sentence about the first fault, or about all unknown keys, each with the nearest name.

    Args:
        fault: what validating ``model`` raised.
        section: the key under which ``model`` lies in its file, if any.
    """
    errors = _most_telling_first(model, fault.errors())
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return _unknown(model, errors, section)
    path, _ = _walk(model, first)
    key = _key(section, path)
    if first["type"] == "missing":
        return f"key '{key}' is missing; add it"
    if first["type"] == "value_error":
        return f"'{key or 'recipe'}' is not right: {_own_words(first)}"
    same = [error for error in errors if _walk(model, error)[0] == path]
    return f"'{key}' is {_shown(first['input'])}; give {_wanted(same)}"


def _unknown(model: Any, errors: Sequence[ErrorDetails], section: str) -> str:
    """The first fault, an unknown key, and all others of its kind.

    What lies in a member of a union is left to the first fault: a key that one member lacks may be one of another.
    """
    named: list[str] = []
    for error in errors:
        path, fields = _walk(model, error)
        if error["type"] == "extra_forbidden" and (not named or len(path) == len(error["loc"])):
            key = _key(section, path)
            hint = nearest(path[-1], fields, within=key.removesuffix(path[-1]))
            named.append(f"'{key}'{hint}")
    if len(named) == 1:
        return f"unknown key {named[0]}; correct or remove it"
    return f"unknown keys {', '.join(named)}; correct or remove them"


def _key(section: str, path: Sequence[str]) -> str:
    """As it stands in the file: ``data.sets.0.path``."""
    return ".".join([section, *path] if section else path)


def _most_telling_first(model: Any, errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """A union reports once for each member, and a misspelt key also as a missing one.

    What lies deepest in a section is about the member that was meant.
    """
    first = errors[0]
    start, _ = _walk(model, first)
    if first["type"] == "missing":
        start = start[:-1]

    def rank(error: ErrorDetails) -> tuple[int, bool]:
        path, _ = _walk(model, error)
        inside = path[: len(start)] == start
        return (-len(path) if inside else 0), error["type"] != "extra_forbidden"

    in_a_section = isinstance(first["input"], dict)
    return sorted(errors, key=rank) if in_a_section else errors


def _walk(model: Any, error: ErrorDetails) -> tuple[list[str], list[str]]:
    """The keys of a fault's place, and the fields of the model it lies in.

    Of a place's words only numbers, fields and an unknown key are keys; the others are pydantic's own
    names for the members of a union.
    """
    current: list[Any] = [model]
    keys: list[str] = []
    fields: list[str] = []
    for part in error["loc"]:
        models = [found for annotation in current for found in _models_in(annotation)]
        fields = [name for candidate in models for name in candidate.model_fields]
        if part in fields:
            holders = [candidate for candidate in models if part in candidate.model_fields]
            current = [candidate.model_fields[str(part)].annotation for candidate in holders]
        if part in fields or isinstance(part, int):
            keys.append(str(part))
    if error["type"] == "extra_forbidden" and not isinstance(error["loc"][-1], int):
        keys.append(str(error["loc"][-1]))
    return keys, fields


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, list, tuple):
        return [model for inner in get_args(annotation) for model in _models_in(inner)]
    return []


def _own_words(error: ErrorDetails) -> str:
    words = error["msg"].removeprefix("Value error, ")
    return (
        words if isinstance(error["input"], dict) else f"{words} (it is {_shown(error['input'])})"
    )


def _wanted(errors: Sequence[ErrorDetails]) -> str:
    """What may stand there: ``a number or keys and values``."""
    choices = []
    for error in errors:
        name = error["type"]
        for end in ("_type", "_parsing", "_from_float"):
            name = name.removesuffix(end)
        wanted = _WANTED.get(name, "a value of another kind").format(**error.get("ctx", {}))
        choices += [wanted] if wanted not in choices else []
    return " or ".join(choices)


def _shown(value: Any) -> str:
    """The value as a recipe would write it, cut where it is long."""
    plain = {None: "null", True: "true", False: "false"}
    text = plain[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
