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
    assert (config.train.steps, config.optimiser.lr, config.ema.decay) == (9, 1e-3, 0.995)
    assert config.data.sets[0].task == "pbe" and config.model["blocks"] == 4


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "train.max_minuts=3",
            r"unknown key 'train.max_minuts' \(did you mean 'train.max_minutes'\?\)",
        ),
        ("optimizer.lr=3", r"unknown key 'optimizer' \(did you mean 'optimiser'\?\)"),
        (
            "loss.forces.weigth=3",
            r"unknown key 'loss.forces.weigth' \(did you mean 'loss.forces.weight'\?\)",
        ),
        (
            "data.sets.0.pth=a",
            r"unknown key 'data.sets.0.pth' \(did you mean 'data.sets.0.path'\?\)",
        ),
        ("data.sets.4.path=a", r"must be a number below 1"),
        (
            "data.sets.0.keys.dipole=REF_dipole",
            r"unknown key 'data.sets.0.keys.dipole' \(known: energy, forces, magmoms, stress, virial\)",
        ),
        ("model.cutof=4", r"unknown key 'model.cutof' \(did you mean 'model.cutoff'\?\)"),
        ("model.preset=smal", r"'smal'.*did you mean 'small'"),
        ("model.cutoff=-4", r"'model.cutoff' is -4; give a number above 0"),
        ("model.elements=Si", r"'model.elements' is 'Si'; give a list"),
        ("model.line_cutoff=9", r"'model' is not right: line_cutoff must not exceed cutoff"),
        ("model={1: 2}", r"'model.1' is 1; give a text"),
        ("train.steps=-1", r"'train.steps' is -1; give a number above 0"),
        ("train.steps=many", r"'train.steps' is 'many'; give a whole number"),
        ("train.dtype=half", r"'train.dtype' is 'half'; give 'float32' or 'float64'"),
        ("train.device=null", r"'train.device' is null; give a text"),
        ("track.tensorboard=perhaps", r"'track.tensorboard' is 'perhaps'; give true or false"),
        ("data=3", r"'data' is 3; give keys and values"),
        ("data.sets=[]", r"'data.sets' is \[\]; give a list of 1 or more entries"),
        ("data.sets.0.task=''", r"'data.sets.0.task' is ''; give a text that is not empty"),
        ("data.sets.0.valid_fraction=1", r"valid_fraction' is 1; give a number below 1"),
        ("optimiser.betas=[1, 2, 3]", r"'optimiser.betas' is \[1, 2, 3\]; give a list of 2"),
        ("loss.energy.weight=abc", r"weight' is 'abc'; give a number or keys and values"),
        ("loss.energy.weight={start: 1}", r"key 'loss.energy.weight.end' is missing"),
        (
            "loss.energy.weight={start: 1, edn: 2}",
            r"weight.edn' \(did you mean 'loss.energy.weight.end'\?\)",
        ),
        ("loss.energy.form=norm", r"for forces"),
        ("loss.energy.weight=-1", r"weight' is -1; give a number not below 0 or keys and values"),
        (
            "loss={energy: {weight: 0}, forces: {weight: {start: 0, end: 0}}}",
            r"'loss' is not right: give at least one term a weight above 0",
        ),
        ("optimiser.betas=[0.9, 1.5]", r"'optimiser.betas.1' is 1.5; give a number below 1"),
        ("model.name=x", r"unknown key 'model.name'"),
        ("train.steps", r"--set train.steps has no '='"),
        ("=3", r"--set =3 has no key before '='"),
        ("train..steps=3", r"'train..steps' has an empty name beside a '\.'"),
        ("train.steps.x=3", r"lies inside a plain value"),
        ("train.steps=[3", r"the value is not valid YAML"),
        ("train.steps=null", r"say when to stop"),
        ("optimiser.lr=.inf", r"'optimiser.lr' is inf"),
        ("model.cutoff=.inf", r"'model.cutoff' is inf"),
        ("train.seed=99999999999999999999", r"'train.seed' is 9{20}; give a number below"),
        ("data.sets.0.keys={stress: virial}", r"write virial=virial"),
    ],
)
def test_every_fault_is_one_sentence(recipe: Path, setting: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as fault:
        load_config(recipe, [setting])
    sentence = str(fault.value)
    assert "\n" not in sentence
    assert "nput should" not in sentence and "valid " not in sentence.replace("valid YAML", "")
    assert sentence.startswith((f"{recipe}: ", f"--set {setting}"))


def test_unknown_keys_are_told_together(recipe: Path) -> None:
    settings = ["train.max_minuts=3", "optimizer.lr=3", "data.sets.0.pth=a"]
    with pytest.raises(UserError) as fault:
        load_config(recipe, settings)
    sentence = str(fault.value)
    for wrong, right in (
        ("train.max_minuts", "train.max_minutes"),
        ("optimizer", "optimiser"),
        ("data.sets.0.pth", "data.sets.0.path"),
    ):
        assert f"'{wrong}' (did you mean '{right}'?)" in sentence
    assert "unknown keys " in sentence and sentence.endswith("; correct or remove them")


def test_missing_key_and_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="key 'train' is missing"):
        load_config(write(tmp_path / "a.yaml", {k: v for k, v in MINIMAL.items() if k != "train"}))
    with pytest.raises(UserError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="keys and values"):
        load_config(write(tmp_path / "c.yaml", [1]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"data:\n  sets: [1\ntrain:", "is not valid YAML at line 3, column 6: "),
        (b"data:\n\troot: x", "is not valid YAML at line 2, column 1: "),
        (b"data: *nothing", "is not valid YAML at line 1, column 7: "),
        (b"\xff\xfe\xfa", "is not a text file in UTF-8"),
        (b"data: \x00", "is not a text file in UTF-8"),
    ],
)
def test_broken_yaml_is_one_sentence_with_the_place(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as fault:
        load_config(path)
    assert str(fault.value).startswith(f"{path} {words}")
    assert len(str(fault.value)) < len(str(path)) + 150 and "\n" not in str(fault.value)


def test_what_is_written_is_read_back(recipe: Path, tmp_path: Path) -> None:
    config = load_config(recipe, ["loss.energy.weight={start: 1, end: 10, begin: 0.5}"])
    write_config(config, tmp_path / "again.yaml")
    assert load_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize("name", ["silicon", "universal", "smoke"])
def test_shipped_recipes_are_valid_and_found_by_name(name: str) -> None:
    config = load_config(name)
    assert config.data.root == "../shared/data"
    assert config.train.max_minutes is None or config.train.max_minutes <= 30
