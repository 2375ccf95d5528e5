"""Small labelled data and recipes that train in seconds."""

from pathlib import Path

import pytest
import yaml
from training_support import metals

import janus_training.trainer as trainer
from janus_md.io import write_frames
from janus_training.config import Config
from janus_training.recipe import load_config

TINY = {
    "model": {"preset": "tiny", "cutoff": 4.0, "line_cutoff": 3.0},
    "batch": {"structures": 3, "edges": 5000},
    "loss": {
        "energy": {"weight": {"start": 0.1, "end": 1.0}},
        "forces": {"weight": 1.0, "form": "l2"},
        "stress": {"weight": 1.0},
    },
    "train": {"steps": 11, "validate_every": 4, "threads": 1},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with two tasks, one of them without stresses and with energies only now and then."""
    first, second = metals(12), metals(8, seed=1)
    for number, frame in enumerate(second):
        frame.stress = None
        frame.energy = frame.energy if number % 2 else None
    write_frames(tmp_path / "data" / "first.extxyz", first)
    write_frames(tmp_path / "data" / "second.db", second)
    sets = [
        {"path": "first.extxyz", "task": "emt"},
        {"path": "second.db", "task": "sparse", "valid_fraction": 0.25},
    ]
    content = TINY | {"data": {"root": str(tmp_path / "data"), "sets": sets}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def config(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The small recipe; the report, which takes most of such a run's time, is left out."""
    monkeypatch.setattr(trainer, "write_report", lambda *_: None)
    return load_config(recipe)
