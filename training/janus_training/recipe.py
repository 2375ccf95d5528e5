"""From recipe file and ``--set`` to a checked ``Config``, and back to YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from janus_md.errors import UserError
from janus_md.settings import split_setting
from janus_md.validation import explain
from janus_training import yaml_files
from janus_training.config import Config
from janus_training.model_section import resolve_model


def load_config(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """The configuration of a recipe file with ``key.sub=value`` settings applied on top."""
    path = find_recipe(Path(path))
    content = _read(path)
    for setting in settings:
        apply_setting(content, setting)
    try:
        return _checked(content, str(path))
    except UserError:
        if settings:
            _checked(_read(path), str(path))  # if the recipe alone is right, the settings are not
            return _checked(content, f"--set {' '.join(settings)}")
        raise


def _checked(content: dict[str, Any], source: str) -> Config:
    """Model included, before any data are read."""
    config = parse_config(content, source)
    try:
        resolve_model(config.model, ["H"], ["default"])
    except UserError as fault:
        raise UserError(f"{source}: {fault}") from None
    return config


def _read(path: Path) -> dict[str, Any]:
    return yaml_files.read(path, example="'data:' and 'train:'")


def find_recipe(path: Path) -> Path:
    """The file itself, or the shipped recipe of that name (``silicon`` or ``silicon.yaml``)."""
    package = Path(__file__).parent
    return yaml_files.find(path, [package / "recipes", package.parent / "recipes"], "recipe")


def parse_config(content: dict[str, Any], source: str) -> Config:
    """Validate; a fault becomes one sentence that names ``source`` and the key."""
    try:
        return Config.model_validate(content)
    except ValidationError as fault:
        raise UserError(f"{source}: {explain(fault, Config)}") from None


def write_config(config: Config, path: Path) -> None:
    """YAML that ``load_config`` reads back as the same configuration."""
    content = config.model_dump(mode="json")
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def apply_setting(content: dict[str, Any], setting: str) -> None:
    """Put one ``a.b=value`` into nested dictionaries and lists; the value is read as YAML."""
    key, text = split_setting(setting)
    try:
        value = _read_value(text)
    except yaml.YAMLError:
        raise UserError(f"--set {setting}: the value is not valid YAML; quote it") from None
    *parents, last = key.split(".")
    place: Any = content
    for parent in parents:
        place = _descend(place, parent, setting)
    if isinstance(place, list):
        place[_index(place, last, setting)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise UserError(f"--set {setting}: '{key}' lies inside a plain value; correct the key")


def _read_value(text: str) -> Any:
    """YAML, but with ``1e-3`` a number: YAML 1.1 wants a point in it."""
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except ValueError:
        return yaml.safe_load(text)


def _descend(place: Any, name: str, setting: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, name, setting)]
    if not isinstance(place, dict):
        raise UserError(f"--set {setting}: there is nothing under '{name}'; correct the key")
    if place.get(name) is None:
        place[name] = {}
    return place[name]


def _index(place: list[Any], name: str, setting: str) -> int:
    if not name.isdigit() or int(name) >= len(place):
        raise UserError(
            f"--set {setting}: '{name}' must be a number below {len(place)}, the length of that list"
        )
    return int(name)
