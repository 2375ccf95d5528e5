"""YAML files that a person writes, and those of the same kind that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from janus_md.errors import UserError, nearest


def find(path: Path, folders: Sequence[Path], kind: str) -> Path:
    """The file itself, or the shipped one of that name, with or without ``.yaml``, in one of ``folders``.

    Raises ``UserError`` where there is no such ``kind`` (what is looked for, in a word).
    """
    shipped = {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
    if path.is_file():
        return path
    if path.parent == Path() and path.stem in shipped:
        return shipped[path.stem]
    raise UserError(
        f"the {kind} {path} does not exist{nearest(path.stem, shipped)}; "
        f"give the path of a YAML file or the name of a {kind} that comes with Janus-MD"
    )


def read(path: Path, example: str) -> dict[str, Any]:
    """Keys and values of a file. Raises ``UserError`` where it holds something else; ``example``: such keys."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "some line"
        what = fault.problem or fault.context or "it cannot be read"
        raise UserError(f"{path} is not valid YAML at {place}: {what}; mend it there") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path} is not a text file in UTF-8; give one in YAML") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold keys and values such as {example}; mend it")
    return content
