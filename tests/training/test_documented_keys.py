"""The tables of keys in the documentation: all that there are, with the defaults that they have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from janus_md.model.config import ALL_ELEMENTS, ModelConfig
from janus_training.config import Config, ParallelConfig

DOCS = Path(__file__).parents[2] / "docs"
MINIMAL = {"data": {"sets": [{"path": "frames.extxyz"}]}, "train": {"steps": 1}}
TERMS = ("energy", "forces", "stress", "magmoms")
ELSEWHERE = ("model", "data.sets", "parallel")
"""Parts of a recipe that have tables of their own."""


def documented(file: str, title: str) -> dict[str, Any]:
    """Key → default, of the table below a title."""
    below = (DOCS / file).read_text(encoding="utf-8").split(f"\n## {title}\n")[1]
    table = {}
    for line in below.split("\n## ")[0].splitlines():
        if not line.startswith("| `"):
            continue
        _, keys, default, *_ = line.split("|")
        value = None if default.strip() == "none" else yaml.safe_load(default.strip(" `"))
        for key in re.findall("`([^`]+)`", keys):
            table |= {key.replace("*", term): value for term in TERMS}
    return table


def leaves(part: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Every key of a recipe; a ramp is one value."""
    found = {}
    for name, value in part.items():
        key = before + name
        if isinstance(value, dict) and key not in ELSEWHERE and name != "weight":
            found |= leaves(value, f"{key}.")
        elif key not in ELSEWHERE:
            found[key] = value
    return found


def test_every_key_of_a_recipe_is_documented_with_its_default() -> None:
    expected = leaves(Config.model_validate(MINIMAL).model_dump(mode="json"))
    assert documented("training.md", "Every key") == expected | {"train.steps": None}


def test_every_field_of_a_model_is_documented_with_its_default() -> None:
    expected = {name: field.default for name, field in ModelConfig.model_fields.items()}
    assert ALL_ELEMENTS[-1] == "Lr"
    assert documented("model.md", "Every field") == expected | {"elements": "all up to Lr"}


@pytest.mark.parametrize("name", ParallelConfig.model_fields)
def test_every_key_of_the_parallel_part_is_documented_with_its_default(name: str) -> None:
    default = yaml.safe_dump(ParallelConfig.model_fields[name].default).splitlines()[0]
    assert f"| `{name}: {default}` |" in (DOCS / "training.md").read_text(encoding="utf-8")
