"""A run taken up again: what stays, what may change, and what a copy or a kill has left behind."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from training_support import rows_of

import janus_training.checkpoint as checkpoint
import janus_training.trainer as trainer
from janus_md.errors import UserError
from janus_training.checkpoint_links import mend_links
from janus_training.config import Config
from janus_training.loop import train
from janus_training.metrics import read_metrics
from janus_training.progress import load_progress
from janus_training.recipe import load_config
from janus_training.run import run_config


@pytest.fixture
def stopped(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that died in step 10, after a checkpoint at step 8 that is its last; that of step 4 is its best."""
    scores = iter([3.0, 1.0, 2.0])
    steps = iter(range(100))
    honest = trainer.take_step

    def mortal(*arguments: Any) -> dict[str, Any]:
        if next(steps) == 9:
            raise MemoryError
        return honest(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "score", lambda *_: next(scores))
        patched.setattr(trainer, "take_step", mortal)
        with pytest.raises(MemoryError):
            train(config, tmp_path / "run")
    monkeypatch.setattr(trainer, "score", lambda *_: 4.0)
    return tmp_path / "run"


def resumed_from(run: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said while ``run`` goes on to its end at step 11, without a step done twice in its metrics."""
    train(run_config(run, []), run, resume=True)
    steps = [row["step"] for row in read_metrics(run) if row["kind"] == "train"]
    assert steps == list(range(1, 12))
    assert (run / "checkpoints" / "last").readlink() == Path("step-00000011")
    assert (run / "checkpoints" / "best").readlink() == Path("step-00000004")
    return capsys.readouterr().err


@pytest.mark.parametrize("lost", [["last"], ["best"], ["last", "best"]])
def test_a_copy_without_links_goes_on_from_its_newest_checkpoint(
    stopped: Path, capsys: pytest.CaptureFixture[str], lost: list[str]
) -> None:
    """As rsync -r leaves it."""
    for link in lost:
        (stopped / "checkpoints" / link).unlink()
    said = resumed_from(stopped, capsys)
    assert "going on from the checkpoint of step 8" in said
    for link in lost:
        assert f"checkpoints/{link} was missing" in said


@pytest.mark.parametrize("kept", ["every folder", "best and last alone"])
def test_a_copy_with_folders_for_links_goes_on(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: str
) -> None:
    """As cp -rL leaves it."""
    copy = tmp_path / "copy"
    shutil.copytree(stopped, copy, symlinks=False)
    if kept != "every folder":
        for folder in (copy / "checkpoints").glob("step-*"):
            shutil.rmtree(folder)
    said = resumed_from(copy, capsys)
    assert "going on from the checkpoint of step 8" in said
    assert "checkpoints/last was a folder; it is a link to step-00000008 again" in said


def test_two_folders_for_one_step_that_differ_are_left_alone(stopped: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(stopped, copy, symlinks=False)
    part = copy / "checkpoints" / "step-00000008" / "training.safetensors"
    part.write_bytes(part.read_bytes()[:-10])
    before = sorted(copy.rglob("*"))
    with pytest.raises(UserError, match=r"last is a folder and not a link, and differs from"):
        train(run_config(copy, []), copy, resume=True)
    assert sorted(copy.rglob("*")) == before


def test_a_link_to_nothing_is_named(stopped: Path) -> None:
    for folder in (stopped / "checkpoints").glob("step-*"):
        shutil.rmtree(folder)
    rows = read_metrics(stopped)
    with pytest.raises(UserError, match=r"last leads to step-00000008, which is missing"):
        train(run_config(stopped, []), stopped, resume=True)
    assert read_metrics(stopped) == rows


def test_a_kill_between_the_links_does_not_leave_the_best_behind(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second checkpoint is better than the first, and than all that come after the kill."""
    scores = iter([3.0, 1.0, *[2.0] * 9])
    monkeypatch.setattr(trainer, "score", lambda *_: next(scores))
    honest = checkpoint.point

    def killed(root: Path, link: str, name: str) -> None:
        if (link, name) == ("best", "step-00000004"):
            raise MemoryError
        honest(root, link, name)

    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "point", killed)
        with pytest.raises(MemoryError):
            train(config, run)
    train(run_config(run, []), run, resume=True)
    assert (run / "checkpoints" / "best").readlink() == Path("step-00000004")


def test_a_file_system_without_links_is_named(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refused)
    with pytest.raises(UserError, match=r"run/checkpoints is on a file system without symbolic"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize("setting", ["blocks=1", "cutoff=4.5", "preset=lean"])
def test_the_model_of_a_run_stays(stopped: Path, setting: str) -> None:
    before = {file: file.stat().st_mtime_ns for file in stopped.rglob("*")}
    with pytest.raises(UserError, match=rf"model\.{setting.partition('=')[0]} cannot change while"):
        train(run_config(stopped, [f"model.{setting}"]), stopped, resume=True)
    assert {file: file.stat().st_mtime_ns for file in stopped.rglob("*")} == before


@pytest.mark.parametrize("setting", ["optimiser.method=adamw", "train.dtype=float64"])
def test_what_a_checkpoint_is_bound_to_stays(stopped: Path, setting: str) -> None:
    key = setting.partition("=")[0]
    before = {file: file.stat().st_mtime_ns for file in stopped.rglob("*")}
    with pytest.raises(UserError, match=rf"run was begun with {key}=.* cannot go on with"):
        train(run_config(stopped, [setting]), stopped, resume=True)
    assert {file: file.stat().st_mtime_ns for file in stopped.rglob("*")} == before


def test_settings_of_a_resumption_are_written_down(stopped: Path) -> None:
    """What held until then stays beside them; nobody has to repeat them."""
    first = (stopped / "config.yaml").read_text()
    for steps in (10, 12):
        train(run_config(stopped, [f"train.steps={steps}"]), stopped, resume=True)
    assert (stopped / "config-until-step-8.yaml").read_text() == first
    for name, steps in {"config-until-step-10": 10, "config": 12}.items():
        assert load_config(stopped / f"{name}.yaml").train.steps == steps
    assert read_metrics(stopped)[-1]["step"] == 12
    assert len(list(stopped.glob("*config*"))) == 3


@pytest.mark.parametrize(
    ("setting", "best"),
    [("train.steps=11", "step-00000004"), ("loss.forces.weight=7", "step-00000011")],
)
def test_scores_of_another_loss_are_not_compared(stopped: Path, setting: str, best: str) -> None:
    """After the change the score, 4, is worse than 1, that of step 4; but that one was of other weights."""
    train(run_config(stopped, [setting]), stopped, resume=True)
    assert (stopped / "checkpoints" / "best").readlink() == Path(best)


def test_the_best_stays_until_another_loss_has_been_validated(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill before that left the last one as the best, and the best was removed."""
    honest, steps = trainer.take_step, iter(range(100))

    def mortal(*arguments: Any) -> dict[str, Any]:
        if next(steps) == 1:
            raise MemoryError
        return honest(*arguments)

    settings = ["loss.forces.weight=7", "train.checkpoint_minutes=0"]
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "take_step", mortal)
        with pytest.raises(MemoryError):
            train(run_config(stopped, settings), stopped, resume=True)
    assert load_progress(stopped).step == 9
    assert mend_links(stopped) == []
    assert (stopped / "checkpoints" / "best").readlink() == Path("step-00000004")


def test_a_longer_run_takes_up_where_the_short_one_ended(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run")
    train(run_config(run, ["train.steps=15"]), run, resume=True)
    steps = [row["step"] for row in read_metrics(run) if row["kind"] == "train"]
    assert steps == list(range(1, 16))


@pytest.mark.parametrize(
    ("limits", "more"),
    [
        ({"steps": 11}, "train.steps"),
        ({"steps": None, "epochs": 1}, "train.epochs"),
        ({"steps": None, "max_minutes": 0.25}, "train.max_minutes"),
    ],
)
def test_a_finished_run_is_left_as_it_is(
    config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, Any],
    more: str,
) -> None:
    monkeypatch.setattr(trainer, "write_report", lambda run, *_: (run / "report.html").touch())
    limited = config.train.model_copy(update=limits)
    run = train(config.model_copy(update={"train": limited}), tmp_path / "run")
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    words = rf"run is finished: .* min, the end that {more}=.* sets; .* --resume --set {more}=MORE"
    with pytest.raises(UserError, match=words):
        train(run_config(run, []), run, resume=True)
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*")} == before


def test_a_run_without_time_for_a_step_says_where_its_time_goes(
    config: Config, tmp_path: Path
) -> None:
    limited = config.train.model_copy(update={"steps": None, "max_minutes": 0.1})
    words = (
        r"no time for a single step, as the last validation and the report are given 0\.\d minutes"
    )
    with pytest.raises(UserError, match=words):
        train(config.model_copy(update={"train": limited}), tmp_path / "run")


def test_a_run_that_kept_time_it_did_not_need_is_finished(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first validation was slow, so much was kept for the last one, which was not: what is left is no new end."""
    monkeypatch.setattr(trainer, "write_report", lambda run, *_: (run / "report.html").touch())
    limits = {"steps": None, "max_minutes": 0.3}
    limited = config.train.model_copy(update=limits)
    run = train(config.model_copy(update={"train": limited}), tmp_path / "run")
    file = run / "checkpoints" / "last" / "training.json"
    state = json.loads(file.read_text()) | {"minutes": 0.01, "reserve": 0.0}
    file.write_text(json.dumps(state))
    (run / "report.html").touch()
    with pytest.raises(UserError, match="run is finished"):
        train(run_config(run, []), run, resume=True)
    more = train(run_config(run, ["train.max_minutes=0.4"]), run, resume=True)
    assert load_progress(more).step > state["step"]


def test_a_run_killed_before_its_report_gets_it(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an earlier end has left one."""
    monkeypatch.setattr(trainer, "write_report", lambda run, *_: (run / "report.html").touch())
    run = train(config, tmp_path / "run")
    monkeypatch.setattr(trainer, "write_report", lambda *_: None)
    train(run_config(run, ["train.steps=15"]), run, resume=True)
    written: list[Path] = []
    monkeypatch.setattr(trainer, "write_report", lambda run, *_: written.append(run))
    train(run_config(run, []), run, resume=True)
    assert written == [run]


def test_a_run_does_not_go_on_with_another_split(config: Config, tmp_path: Path) -> None:
    """Frames it has trained on would be among those it validates on."""
    run = train(config, tmp_path / "run")
    before = rows_of(run)
    for setting in ("data.seed=5", "data.valid_fraction=0.3", "data.sets.1.valid_fraction=0.5"):
        other = run_config(run, ["train.steps=14", setting])
        with pytest.raises(UserError, match=r"data\.(seed|valid_fraction|sets) is not what"):
            train(other, run, resume=True)
    assert rows_of(run) == before
    train(run_config(run, ["train.steps=12", "data.graph_memory=0"]), run, resume=True)


def test_a_run_goes_on_from_another_folder(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(load_config(tmp_path / "recipe.yaml", ["data.root=data"]), tmp_path / "run")
    monkeypatch.chdir(run)
    train(run_config(run, ["train.steps=12"]), run, resume=True)
    assert read_metrics(run)[-1]["step"] == 12
