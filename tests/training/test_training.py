"""Whole runs: the loss falls, an interruption leaves no trace, wrong input is refused."""

import errno
import gzip
import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_support import rows_of

import janus_training.loop as loop
import janus_training.trainer as trainer
from janus_md.cli.train import train as train_command
from janus_md.errors import UserError
from janus_md.io import read_frames, write_frames
from janus_md.model import load_model
from janus_training.config import Config, TrackConfig
from janus_training.loop import train
from janus_training.metrics import Metrics, read_metrics
from janus_training.progress import load_progress
from janus_training.recipe import load_config
from janus_training.run import run_config

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / "checkpoints" / "last").state_dict()


def test_a_run_leaves_everything_it_should(recipe: Path, tmp_path: Path) -> None:
    run = train(load_config(recipe), tmp_path / "run")
    rows = read_metrics(run)
    train_rows = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train_rows] == list(range(1, 12))
    assert {row["task"] for row in rows if row["kind"] == "valid"} == {"emt", "sparse"}
    assert (run / "metrics.csv").read_text().count("\n") == len(rows) + 1
    report = (run / "report.html").read_text()
    for heading in (
        "Learning curves",
        "Parity: emt",
        "Parity: sparse",
        "by element",
        "Shared expert",
    ):
        assert heading in report
    assert "http" not in report.replace("http-equiv", "")
    for name in ("last", "best"):
        assert load_model(run / "checkpoints" / name).config.tasks == ["emt", "sparse"]
    assert len(list((run / "checkpoints").glob("step-*"))) <= 2
    assert 0 < len(read_frames(run / "frames.extxyz")) <= 8


@pytest.mark.parametrize("stop", [3, 4, 10])
def test_an_interrupted_run_goes_on_to_the_last_bit(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Stopped dead in step ``stop`` + 1: what came after the last checkpoint is done again, the same."""
    whole = train(config, tmp_path / "whole")
    steps = iter(range(100))
    honest = trainer.take_step

    def mortal(*arguments: Any) -> dict[str, Any]:
        if next(steps) == stop:
            raise MemoryError
        return honest(*arguments)

    monkeypatch.setattr(trainer, "take_step", mortal)
    run = tmp_path / "broken"
    with pytest.raises(MemoryError):
        train(config, run)
    monkeypatch.setattr(trainer, "take_step", honest)
    train(run_config(run, []), run, resume=True)
    assert rows_of(run) == rows_of(whole)
    for name, value in weights_of(run).items():
        assert torch.equal(value, weights_of(whole)[name]), name


def test_the_resolved_configuration_alone_repeats_the_run(config: Config, tmp_path: Path) -> None:
    first = train(config, tmp_path / "first")
    second = train(load_config(first / "config.yaml"), tmp_path / "second")
    assert rows_of(first) == rows_of(second)
    assert (first / "config.yaml").read_text() == (second / "config.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_goes_on_to_the_last_bit(
    recipe: Path, tmp_path: Path, blow: signal.Signals
) -> None:
    """SIGKILL leaves no time for anything; SIGTERM ends with a checkpoint and exit code 2."""
    command = [sys.executable, "-m", "janus_md.cli.main", "train"]
    settings = ["--set", "train.steps=60", "--set", "train.validate_every=5"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    subprocess.run([*command, str(recipe), "-o", str(whole), *settings], check=True)
    process = subprocess.Popen(
        [*command, str(recipe), "-o", str(run), *settings], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while len(read_metrics(run)) < 25 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(blow)
    message = process.communicate(timeout=60)[1]
    if blow == signal.SIGTERM:
        assert process.returncode == 2 and "continue it with --resume" in message
    subprocess.run([*command, "-o", str(run), "--resume"], check=True)
    assert rows_of(run) == rows_of(whole)


def test_a_run_with_a_time_limit_keeps_to_it(config: Config, tmp_path: Path) -> None:
    limited = config.train.model_copy(update={"steps": None, "max_minutes": 0.4})
    start = time.monotonic()
    run = train(config.model_copy(update={"train": limited}), tmp_path / "run")
    assert time.monotonic() - start < 0.4 * 60
    rows = [row for row in read_metrics(run) if row["kind"] == "train"]
    assert rows[-1]["lr"] == pytest.approx(config.optimiser.lr * config.schedule.lr_end)


def test_progress_is_kept_where_the_disk_cut_a_line(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"kind": "train", "st')
    assert len(read_metrics(run)) == len((run / "metrics.jsonl").read_text().splitlines()) - 1


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not beside the checkout")
def test_the_loss_falls_on_real_data(tmp_path: Path) -> None:
    settings = [
        f"data.root={SHARED}", "data.sets.0.path=mlearn/Si-test.extxyz", "train.steps=60",
        "train.validate_every=60",
    ]  # fmt: skip
    run = train(load_config("smoke", settings), tmp_path / "run")
    losses = [row["loss"] for row in read_metrics(run) if row["kind"] == "train"]
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    errors = [row for row in read_metrics(run) if row["kind"] == "valid"]
    assert errors[-1]["forces"] < 0.8 * errors[0]["forces"]


def test_a_used_folder_is_refused_and_untouched(config: Config, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("mine")
    with pytest.raises(UserError, match="already holds a run"):
        train(config, run)
    assert [file.name for file in run.iterdir()] == ["config.yaml"]
    assert (run / "config.yaml").read_text() == "mine"
    with pytest.raises(UserError, match="holds no run to resume"):
        run_config(tmp_path / "other", [])


def test_a_file_is_no_folder_of_a_run(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.touch()
    with pytest.raises(UserError, match="run is a file; choose another"):
        train(config, file)
    with pytest.raises(UserError, match="run is a file, not the folder of a run"):
        run_config(file, [])


@pytest.mark.parametrize("place", ["file/run", "/proc/nothing/run"])
def test_a_folder_that_cannot_be_made_is_named_before_data_are_read(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(loop, "load_frames", lambda *_: pytest.fail("data are read"))
    with pytest.raises(UserError, match=r"run cannot be written into \(.*\); choose another"):
        train(config, tmp_path / place)


def test_a_disk_that_fills_up_is_one_sentence(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a checkpoint is written, or the report."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"training.safetensors could not be written .*too lar"):
            train(config, tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainer, "write_report", full)
    with pytest.raises(UserError, match=r"a file of .*run could not be written \(No space left"):
        train(run_config(tmp_path / "run", []), tmp_path / "run", resume=True)


def test_a_tracker_that_is_not_installed_leaves_no_folder(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"track.wandb needs a package"):
        train(load_config(recipe, ["track.wandb=metals"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["data.sets.0.path=none.extxyz"],
            r"none.extxyz does not exist; correct data.sets.0.path or data.root",
        ),
        (["data.root=nowhere"], r"data.root 'nowhere' is not a folder"),
        (["model.elements=[Cu]"], r"first.extxyz, frame \d+ has the element Au"),
        (["model.tasks=[emt]"], r"model.tasks lacks 'sparse'"),
        (["data.max_force=1e-9"], r"no frame is left"),
        (["loss.magmoms.weight=1"], r"model.magmoms is false"),
        (["batch.edges=10"], r"raise batch.edges to at least"),
        (["train.device=gpu"], r"device 'gpu' is unknown"),
        (["train.device=mps"], r"device 'mps' is not one that models run on"),
        (["train.device=cuda:99"], r"device 'cuda:99' is not available here"),
    ],
)
def test_wrong_input_is_refused_before_a_folder_is_made(
    recipe: Path, tmp_path: Path, settings: list[str], words: str
) -> None:
    with pytest.raises(UserError, match=words) as fault:
        train(load_config(recipe, settings), tmp_path / "run")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "run").exists()


def test_a_damaged_checkpoint_is_named(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run")
    last = run / "checkpoints" / "last"
    for name, words in {
        "training.safetensors": r"training\.safetensors is damaged or cut off",
        "training.json": r"training\.json is missing, damaged or cut off",
    }.items():
        whole = (last / name).read_bytes()
        (last / name).write_bytes(whole[:100])
        with pytest.raises(UserError, match=words):
            train(run_config(run, ["train.steps=20"]), run, resume=True)
        (last / name).write_bytes(whole)


def test_epochs_of_unlike_numbers_of_batches_are_trained_and_validated_whole(
    recipe: Path, config: Config, tmp_path: Path
) -> None:
    """The third epoch has a batch more than the others."""
    settings = ["batch={edges: 275}", "train.steps=null", "train.validate_every=null"]
    whole = load_config(recipe, [*settings, "train.epochs=4", "schedule.final=0.01"])
    rows = read_metrics(train(whole, tmp_path / "whole"))
    over = [0, *(row["epoch"] for row in rows if row["kind"] == "train")]
    borders = [step for step in range(1, len(over)) if over[step] > over[step - 1]]
    assert over[-2:] == [3, 4] and borders == [4, 8, 13, 17]
    assert [row["step"] for row in rows if row.get("task") == "emt"] == [0, *borders]


def test_labels_that_nothing_is_trained_on_are_named(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(load_config(tmp_path / "recipe.yaml", ["loss.stress.weight=0"]), tmp_path / "run")
    assert "have stress labels that loss.stress.weight=0 ignores" in capsys.readouterr().err
    train(config, tmp_path / "all")
    assert "ignores" not in capsys.readouterr().err


def test_charges_that_a_model_does_not_use_are_told_of(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They went unused without a word."""
    frames = read_frames(tmp_path / "data" / "first.extxyz")
    for frame in frames[:3]:
        frame.charge, frame.spin = 1.0, 1.0
    write_frames(tmp_path / "data" / "charged.extxyz", frames)
    settings = ["data.sets=[{path: charged.extxyz}]", "data.valid_fraction=0", "train.steps=1"]
    train(load_config(tmp_path / "recipe.yaml", settings), tmp_path / "run")
    said = capsys.readouterr().err
    assert "3 of them state a charge that model.charge=false ignores" in said
    assert "state a spin" not in said
    settings.append("model.charge=true")
    train(load_config(tmp_path / "recipe.yaml", settings), tmp_path / "charged")
    assert "state a charge" not in capsys.readouterr().err


def test_magnetic_moments_are_learnt(config: Config, tmp_path: Path) -> None:
    """Each atom's is the size of its own element's; signs are nobody's business."""
    frames = read_frames(tmp_path / "data" / "first.extxyz")
    for frame in frames:
        numbers = frame.atoms.numbers
        frame.magmoms = np.where(numbers == numbers.min(), 0.3, -1.2)
    write_frames(tmp_path / "data" / "magnetic.extxyz", frames)
    settings = [
        "data.sets=[{path: magnetic.extxyz}]", "model.magmoms=true", "loss.magmoms.weight=1",
        "loss.magmoms.form=l1", "loss.energy.weight=0", "loss.forces.weight=0",
        "loss.stress.weight=0", "train.steps=100", "train.validate_every=100",
    ]  # fmt: skip
    run = train(load_config(tmp_path / "recipe.yaml", settings), tmp_path / "run")
    errors = [row["magmoms"] for row in read_metrics(run) if row["kind"] == "train"]
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])


def test_without_labels_to_validate_on_the_best_is_the_last(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not the model before its first step, whose error no other is below either."""
    settings = ["loss.energy.weight=0", "loss.forces.weight=0", "loss.stress.weight=1"]
    frames = read_frames(tmp_path / "data" / "first.extxyz")
    for frame in frames:
        frame.stress = None
    write_frames(tmp_path / "data" / "bare.extxyz", frames)
    settings += ["data.sets.0.valid=bare.extxyz", "data.sets.1.valid_fraction=0"]
    run = train(load_config(tmp_path / "recipe.yaml", settings), tmp_path / "run")
    for name in ("best", "last"):
        assert (run / "checkpoints" / name).resolve().name == "step-00000011"
    assert capsys.readouterr().err.count("checkpoints/best is the last") == 1


def test_weights_that_begin_at_zero(config: Config, tmp_path: Path) -> None:
    """The first step has nothing to learn from, and harms nothing."""
    ramp = "{start: 0, end: 1, begin: 0.3, finish: 0.9}"
    settings = [f"loss.{name}.weight={ramp}" for name in ("energy", "forces", "stress")]
    run = train(load_config(tmp_path / "recipe.yaml", settings), tmp_path / "run")
    losses = [row["loss"] for row in read_metrics(run) if row["kind"] == "train"]
    assert losses[0] == 0.0 and losses[-1] > 0.0


def test_a_better_score_at_a_step_that_is_saved_already_is_kept(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a resumed run would take a worse one for the best. Each validation is better than the one before."""
    scores = iter(range(9, 0, -1))
    given: list[int] = []
    monkeypatch.setattr(trainer, "score", lambda *_: given.append(next(scores)) or given[-1])
    often = config.train.model_copy(update={"checkpoint_minutes": 0.0})
    run = train(config.model_copy(update={"train": often}), tmp_path / "run")
    state = load_progress(run)
    assert state is not None and state.step == 11 and state.best == given[-1]


def test_a_profile_is_a_trace_and_a_picture(config: Config, recipe: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_command(recipe, run, settings=["train.steps=6"], profile=3)
    assert sorted(file.name for file in (run / "profile").iterdir()) == [
        "rank-0000.json.gz", "steps.png",
    ]  # fmt: skip
    with gzip.open(run / "profile" / "rank-0000.json.gz") as stream:
        events = json.load(stream)["traceEvents"]
    steps = [event for event in events if event.get("name") == "Optimizer.step#Soap.step"]
    assert len(steps) == 3
    assert (run / "profile" / "steps.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("error", ["", "UserError('enough')"])
def test_a_run_that_ends_before_its_profile_ends_in_order(
    recipe: Path, tmp_path: Path, error: str
) -> None:
    """The trace was left open, and the process crashed at its end."""
    run = tmp_path / "run"
    program = (
        "import sys, janus_training.trainer as trainer\n"
        "from janus_md.cli.main import main\n"
        "from janus_md.errors import UserError\n"
        f"def last(*_): {f'raise {error}' if error else 'pass'}\n"
        "trainer.write_report = last\n"
        f"sys.argv = ['janus-md', 'train', {str(recipe)!r}, '-o', {str(run)!r}, '--profile', '3']\n"
        "sys.argv += ['--set', 'train.steps=4']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == (2 if error else 0), done.stderr
    assert ("--profile 3 needs 5 steps" in done.stderr) == (not error)
    assert not (run / "profile" / "steps.png").exists()


def test_tensorboard_where_it_is_asked_for(config: Config, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    track = config.track.model_copy(update={"tensorboard": True})
    run = train(config.model_copy(update={"track": track}), tmp_path / "run")
    assert list((run / "tensorboard").glob("events.*"))


def test_metrics_are_plain_json(config: Config, tmp_path: Path) -> None:
    run = train(config, tmp_path / "run")
    for line in (run / "metrics.jsonl").read_text().splitlines():
        assert set(json.loads(line)) >= {"kind", "step", "minutes"}


def test_rows_with_accounts_of_ranks_survive_a_resumption(tmp_path: Path) -> None:
    """They have more than the CSV's columns."""
    row = {"kind": "train", "step": 3, "loss": 1.0, "ranks": {"bytes": {"energy/graphs": 8.0}}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    Metrics(tmp_path, 3, TrackConfig()).close()
    assert read_metrics(tmp_path) == [row]
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 2
