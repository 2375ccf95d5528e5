"""Recipes: precedence, unknown keys, and the resolved configuration."""

from pathlib import Path

import pytest
import yaml

from janus_md.errors import UserError
from janus_training.recipe import load_config, write_config

MINIMAL = {
    "model": {"preset": "tiny"},
    "data": {"root": "here", "sets": [{"path": "a.extxyz"}]},
    "train": {"steps": 3},
}


def write(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write(tmp_path / "recipe.yaml", MINIMAL)


def test_command_line_over_file_over_defaults(recipe: Path) -> None:
    config = load_config(
        recipe,
        ["train.steps=9", "optimiser.lr=1e-3", "data.sets.0.task=pbe", "model.blocks=4"],
    )
    assert (config.train.steps, config.optimiser.lr, config.ema.decay) == (9, 1e-3, 0.99)
    assert config.data.sets[0].task == "pbe" and config.model["blocks"] == 4


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.max_minuts=3", r"unknown key 'train.max_minuts' \(did you mean 'max_minutes'\?\)"),
        ("optimizer.lr=3", r"unknown key 'optimizer' \(did you mean 'optimiser'\?\)"),
        ("loss.forces.weigth=3", r"unknown key 'loss.forces.weigth' \(did you mean 'weight'\?\)"),
        ("data.sets.0.pth=a", r"unknown key 'data.sets.0.pth' \(did you mean 'path'\?\)"),
        ("data.sets.4.path=a", r"must be a number below 1"),
        ("model.cutof=4", r"'cutof'.*did you mean 'cutoff'"),
        ("model.preset=smal", r"'smal'.*did you mean 'small'"),
        ("train.steps=-1", r"'train.steps' is not right: .*greater than 0"),
        ("train.steps=many", r"'train.steps' is not right: .*integer"),
        ("loss.energy.form=norm", r"for forces"),
        ("train.steps", r"has no '='"),
        ("train.steps=null", r"say when to stop"),
    ],
)
def test_every_fault_is_one_sentence(recipe: Path, setting: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as fault:
        load_config(recipe, [setting])
    assert "\n" not in str(fault.value)


def test_missing_key_and_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="key 'train' is missing"):
        load_config(write(tmp_path / "a.yaml", {k: v for k, v in MINIMAL.items() if k != "train"}))
    with pytest.raises(UserError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_text("a: [1")
    with pytest.raises(UserError, match="not valid YAML"):
        load_config(tmp_path / "b.yaml")
    with pytest.raises(UserError, match="keys and values"):
        load_config(write(tmp_path / "c.yaml", [1]))


def test_what_is_written_is_read_back(recipe: Path, tmp_path: Path) -> None:
    config = load_config(recipe, ["loss.energy.weight={start: 1, end: 10, begin: 0.5}"])
    write_config(config, tmp_path / "again.yaml")
    assert load_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize("name", ["silicon", "universal", "smoke"])
def test_shipped_recipes_are_valid_and_found_by_name(name: str) -> None:
    config = load_config(name)
    assert config.data.root == "../shared/data"
    assert config.train.max_minutes is None or config.train.max_minutes <= 30
