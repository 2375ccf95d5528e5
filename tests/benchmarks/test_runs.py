"""Runs that a script finds in its folder: the same recipe to its end is taken, anything else refused and left alone."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from training_support import metals

from janus_md.errors import UserError
from janus_md.io import write_frames
from janus_training.data import load_frames
from janus_training.prepare import filled_in
from janus_training.progress import Progress, last_state
from janus_training.recipe import parse_config
from janus_training.run import begin_run

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "parallel"
STEPS = 3
ROWS = [{"kind": "train", "step": 1, "loss": 0.5}]


@pytest.fixture
def runs(script, monkeypatch):
    module = script("runs")
    monkeypatch.setattr(module, "_train", lambda recipe, ranks, folder: pytest.fail("trained"))
    return module


@pytest.fixture
def recipe(tmp_path: Path) -> dict:
    write_frames(tmp_path / "data" / "metals.extxyz", metals(6))
    return {
        "model": {"preset": "tiny"},
        "data": {"root": str(tmp_path / "data"), "sets": [{"path": "metals.extxyz"}]},
        "parallel": {"unit": 2},
        "train": {"steps": STEPS},
    }


@pytest.fixture
def folder(runs, recipe: dict, tmp_path: Path) -> Path:
    """Of a finished training of the recipe on two ranks."""
    finish(runs, recipe, 2, tmp_path / "run")
    return tmp_path / "run"


def finish(runs, recipe: dict, ranks: int, run: Path) -> None:
    """Write what a finished training leaves, as far as it is looked at."""
    config = parse_config(runs._on_ranks(recipe, ranks), "recipe")
    begin_run(run, filled_in(config, load_frames(config.data)))
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    last_state(run).parent.mkdir(parents=True)
    last_state(run).write_text(json.dumps(asdict(Progress(step=config.train.steps))))
    (run / "report.html").touch()


def test_a_finished_run_of_the_recipe_is_not_done_again(runs, recipe: dict, folder: Path) -> None:
    assert runs.trained(recipe, 2, folder) == ROWS


@pytest.mark.parametrize(
    ("change", "ranks"),
    [
        ({"train": {"steps": 2}}, 2),
        ({"train": {"steps": 4}}, 2),
        ({"data": {"root": "elsewhere"}}, 2),
        ({"model": {"width": 8}}, 2),
        ({"optimiser": {"method": "adamw"}}, 2),
        ({}, 4),
    ],
)
def test_a_run_of_another_recipe_is_refused(runs, recipe: dict, folder, change, ranks) -> None:
    held = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=rf"{folder} is not a finished run .* --runs"):
        runs.trained(runs.deep(recipe, **change), ranks, folder)
    assert sorted(folder.rglob("*")) == held


def without_its_report(run: Path) -> None:
    (run / "report.html").unlink()


def reported_before_it_went_on(run: Path) -> None:
    os.utime(run / "report.html", (0, 0))


def ended_early(run: Path) -> None:
    last_state(run).write_text(json.dumps(asdict(Progress(step=STEPS - 1))))
    (run / "report.html").touch()


def changed_on_the_way(run: Path) -> None:
    (run / "config-until-step-1.yaml").touch()


def damaged(run: Path) -> None:
    (run / "config.yaml").write_text("a list")


def of_something_else(run: Path) -> None:
    (run / "config.yaml").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        without_its_report, reported_before_it_went_on, ended_early, changed_on_the_way, damaged,
        of_something_else,
    ],
)  # fmt: skip
def test_a_run_that_is_not_whole_is_refused(runs, recipe: dict, folder: Path, spoil) -> None:
    spoil(folder)
    with pytest.raises(UserError, match="not a finished run"):
        runs.trained(recipe, 2, folder)
    assert (folder / "metrics.jsonl").is_file()


def test_all_folders_are_looked_at_before_the_first_training(runs, recipe: dict, tmp_path) -> None:
    (tmp_path / "1").mkdir()
    wanted = {name: (recipe, 2, tmp_path / name) for name in ("0", "1")}
    with pytest.raises(UserError, match="1 is not a finished run"):
        dict(runs.all_trained(wanted))


def test_a_training_of_the_users_own_is_left_alone(script, tmp_path: Path, monkeypatch) -> None:
    own = tmp_path / "run" / "metrics.jsonl"
    own.parent.mkdir()
    own.write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["large.py", "--runs", ".", "-o", "found.json"])
    with pytest.raises(SystemExit, match="run is not a finished run"):
        script("large").main()
    assert own.read_text() == "{}\n" and not Path("found.json").exists()


def test_curves_of_other_steps_are_refused(runs, script, tmp_path: Path) -> None:
    curves = script("curves")
    for name in ("hot-crystals-1k", "mptrj-1k"):
        write_frames(tmp_path / f"{name}.extxyz", metals(4))
    long, short = (
        curves.layouts(curves.recipe(tmp_path, steps), tmp_path / "runs") for steps in (300, 100)
    )
    for run in long.values():
        finish(runs, *run)
    assert list(dict(runs.all_trained(long))) == list(curves.LAYOUTS)
    with pytest.raises(UserError, match="0 is not a finished run"):
        dict(runs.all_trained(short))
