"""Runs that go on from a trained model: what they take over, what they fit anew, what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from training_support import metals, rows_of

import janus_training.trainer as trainer
from janus_md.errors import UserError
from janus_md.graph import batch_graphs, build_graph
from janus_md.io import Frame, write_frames
from janus_md.model import MatRISMoE, load_model, predict, preset, save_model
from janus_training.beginning import continued_model, shifted_references
from janus_training.config import Config
from janus_training.data import load_frames
from janus_training.evaluate import evaluate_files
from janus_training.loop import train
from janus_training.metrics import read_metrics
from janus_training.prepare import filled_in, prepare
from janus_training.recipe import load_config
from janus_training.references import References
from janus_training.run import run_config

SHIFTS = {"Cu": -45000.0, "Au": -531000.0}
"""eV: as between a code with core electrons and one without."""

MODEL = {"preset": "tiny", "cutoff": 4.0, "line_cutoff": 3.0}


def recipe(folder: Path, tasks: dict[str, list[Frame]], *changes: str) -> Config:
    """A run of four steps; each task has two frames more to validate on."""
    folder.mkdir(exist_ok=True)
    for task, frames in tasks.items():
        write_frames(folder / f"{task}.extxyz", frames[2:])
        write_frames(folder / f"{task}-valid.extxyz", frames[:2])
    sets = [{"path": f"{t}.extxyz", "valid": f"{t}-valid.extxyz", "task": t} for t in tasks]
    content = {
        "data": {"root": str(folder), "sets": sets},
        "batch": {"structures": 3},
        "loss": {"energy": {"weight": 1.0, "delta": 0.01}, "forces": {"weight": 1.0, "form": "l2"}},
        "train": {"steps": 4, "validate_every": 2, "threads": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return load_config(folder / "recipe.yaml", changes)


def shifted(frames: list[Frame], shifts: dict[str, float]) -> list[Frame]:
    for frame in frames:
        assert frame.energy is not None
        frame.energy += sum(shifts[symbol] for symbol in frame.atoms.symbols)
    return frames


def first_errors(run: Path) -> dict[str, Any]:
    """Of the validation before the first step, by task; eV and Å."""
    rows = [row for row in read_metrics(run) if row["kind"] == "valid" and row["step"] == 0]
    return {row["task"]: row for row in rows}


def references(folder: Path, frames: list[Frame], start: Path) -> References:
    """Those that a run of the task "emt" begins with."""
    config = recipe(folder, {"emt": frames}, f"start.run={start}")
    read = load_frames(config.data)
    config = filled_in(config, read)
    return shifted_references(config, prepare(config, read, torch.device("cpu")).train)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tasks "emt" and "sparse", long enough for its weights to be unlike random ones."""
    folder = tmp_path_factory.mktemp("trained")
    tasks = {"emt": metals(14), "sparse": metals(10, seed=1)}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trainer, "write_report", lambda *_: None)
        settings = ["train.steps=60", "optimiser.method=muon", "optimiser.lr=5e-3"]
        config = recipe(folder, tasks, f"model={MODEL}", *settings)
        return train(config, folder / "run")


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "write_report", lambda *_: None)


def test_a_new_task_has_the_forces_of_the_old_one_and_energies_of_its_own(
    trained: Path, tmp_path: Path
) -> None:
    frames = metals(30, seed=2)
    write_frames(tmp_path / "valid.extxyz", frames[:2])
    (before,) = evaluate_files(trained, [tmp_path / "valid.extxyz"], task="emt")
    config = recipe(
        tmp_path, {"other": shifted(frames, SHIFTS)}, f"start.run={trained}", "start.task=emt"
    )
    run = train(config, tmp_path / "run")
    found = first_errors(run)["other"]
    assert 1000.0 * found["forces"] == pytest.approx(before["force_mae"], rel=1e-4)
    assert 1000.0 * found["energy"] < 2.0 * before["energy_mae"] + 1.0
    model = load_model(run / "checkpoints" / "last")
    assert model.config.tasks == ["other"]
    assert model.config.elements == ["Cu", "Au"]


def test_a_known_task_goes_on_where_it_was(trained: Path, tmp_path: Path) -> None:
    """Beside another that is new."""
    tasks = {"new": metals(8, seed=3), "sparse": metals(10, seed=1)}
    config = recipe(tmp_path, tasks, f"start.run={trained}", "start.task=emt")
    found = first_errors(train(config, tmp_path / "run"))["sparse"]
    (before,) = evaluate_files(trained, [tmp_path / "sparse-valid.extxyz"], task="sparse")
    assert 1000.0 * found["forces"] == pytest.approx(before["force_mae"], rel=1e-4)
    assert 1000.0 * found["energy"] == pytest.approx(before["energy_mae"], rel=0.1)


def test_what_was_learnt_is_worth_steps(trained: Path, tmp_path: Path) -> None:
    """After as many steps on new frames, forces are better than those of a run from random weights."""
    tasks = {"emt": metals(14, seed=4)}
    errors = []
    for name, changes in {
        "random": [f"model={MODEL}"],
        "trained": [f"start.run={trained}"],
    }.items():
        run = train(
            recipe(tmp_path / f"{name}-data", tasks, "optimiser.lr=1e-3", *changes), tmp_path / name
        )
        errors.append([row["forces"] for row in read_metrics(run) if row["kind"] == "valid"][-1])
    assert errors[1] < 0.7 * errors[0]


@settings(max_examples=8, deadline=None)
@given(
    st.fixed_dictionaries(
        {"Cu": st.floats(-6e5, 6e5), "Au": st.floats(-6e5, 6e5)},
    )
)
def test_references_take_up_any_energies_of_atoms(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, shifts: dict[str, float]
) -> None:
    folder = tmp_path_factory.mktemp("shifted")
    before, after = (
        references(folder / name, frames, trained)
        for name, frames in {
            "plain": metals(20, seed=5),
            "moved": shifted(metals(20, seed=5), shifts),
        }.items()
    )
    size = max(map(abs, shifts.values()))
    for symbol, shift in shifts.items():
        change = after["emt", symbol] - before["emt", symbol]
        assert change == pytest.approx(shift, abs=0.1 + 1e-6 * size)


@pytest.mark.parametrize("until", [0, 3])
def test_an_interrupted_run_goes_on_to_the_last_bit(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: int
) -> None:
    """Once it has a checkpoint, also where the model that it began with is gone."""
    start = tmp_path / "start"
    shutil.copytree(trained, start, symlinks=True)
    config = recipe(tmp_path, {"emt": metals(14, seed=4)}, f"start.run={start}")
    whole = train(config, tmp_path / "whole")
    honest, steps = trainer.take_step, iter(range(100))

    def mortal(*arguments: Any) -> dict[str, Any]:
        if next(steps) == until:
            raise MemoryError
        return honest(*arguments)

    run = tmp_path / "broken"
    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(trainer, "take_step", mortal)
        if until == 0:
            patched.setattr(trainer.Checkpoints, "save", lambda *_, **__: None)
        train(config, run)
    if until:
        shutil.rmtree(start)
    train(run_config(run, []), run, resume=True)
    assert [row for row in rows_of(run) if row["kind"] == "train"] == [
        row for row in rows_of(whole) if row["kind"] == "train"
    ]
    ours, theirs = (load_model(r / "checkpoints" / "last").state_dict() for r in (run, whole))
    for name, value in ours.items():
        assert np.array_equal(value, theirs[name]), name


def test_the_resolved_configuration_alone_repeats_the_run(trained: Path, tmp_path: Path) -> None:
    config = recipe(tmp_path, {"emt": metals(14, seed=4)}, f"start.run={trained}")
    first = train(config, tmp_path / "first")
    second = train(load_config(first / "config.yaml"), tmp_path / "second")
    assert rows_of(first) == rows_of(second)
    with pytest.raises(UserError, match=r"first has begun, so start cannot change"):
        train(run_config(first, ["start.task=sparse", "train.steps=8"]), first, resume=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["start.run=nowhere"], "nowhere does not exist: check the name of the run"),
        (["start.run={trained}/config.yaml"], "config.yaml is a file, not the folder of a run"),
        (["start.task=emt"], r"start\.run"),
        (
            ["start.run={trained}"],
            r"has the tasks emt, sparse but not 'other'; say with start.task",
        ),
        (
            ["start.run={trained}", "start.task=spare"],
            r"start.task 'spare' is no task of .*did you mean 'sparse'.*; give the one that it begins as",
        ),
        (
            ["start.run={trained}", "start.task=emt", "model.preset=lean"],
            r"model\.\w+ is not what .*run, which start.run names, was made with; leave",
        ),
        (
            ["start.run={trained}", "start.task=emt", "model.width=32"],
            r"model\.width is not what .*run, which start.run names, was made with; leave",
        ),
        (["start.run={trained}", "start.task=emt", "model.widht=16"], r"widht.*width"),
    ],
)
def test_what_cannot_be_gone_on_from_is_one_sentence(
    trained: Path, tmp_path: Path, changes: list[str], words: str
) -> None:
    with pytest.raises(UserError, match=words) as fault:
        config = recipe(
            tmp_path,
            {"other": metals(6)},
            *(change.format(trained=trained) for change in changes),
        )
        train(config, tmp_path / "run")
    assert "\n" not in str(fault.value)
    assert not (tmp_path / "run").exists()


def test_isolated_atoms_are_refused(trained: Path, tmp_path: Path) -> None:
    """Their energies cannot be references of a model that has learnt beside others."""
    alone = metals(1)[0]
    alone.atoms = alone.atoms[:1]
    alone.forces = alone.stress = None
    write_frames(tmp_path / "alone.extxyz", [alone])
    changes = [f"start.run={trained}", f"data.sets.0.isolated_atoms={tmp_path / 'alone.extxyz'}"]
    with pytest.raises(UserError, match=r"isolated_atoms cannot be used with start\.run"):
        train(recipe(tmp_path / "data", {"emt": metals(6)}, *changes), tmp_path / "run")


def test_an_element_that_is_new_joins_the_others(trained: Path, tmp_path: Path) -> None:
    frames = metals(12)
    for frame in frames[1::2]:
        frame.atoms.symbols[1] = "Ag"
    config = recipe(tmp_path, {"emt": frames}, f"start.run={trained}")
    run = train(config, tmp_path / "run")
    assert load_model(run / "checkpoints" / "last").config.elements == ["Cu", "Ag", "Au"]
    with pytest.raises(UserError, match=r"model.elements lacks Au, which .* knows; add it there"):
        train(
            load_config(
                tmp_path / "recipe.yaml", [f"start.run={trained}", "model.elements=[Cu, Ag]"]
            ),
            tmp_path / "other",
        )


@settings(max_examples=10, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "composition": st.booleans(),
            "charge": st.booleans(),
            "num_reduced": st.sampled_from([0, 4]),
            "num_message_experts": st.sampled_from([0, 3]),
            "num_feature_experts": st.sampled_from([0, 3]),
            "line_blocks": st.sampled_from([0, 1]),
        }
    ),
    st.permutations(["Al", "Ag", "Pt"]),
)
def test_what_the_model_knew_it_still_knows(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any], others: list[str]
) -> None:
    """Energies and forces of the known elements are the same to the last bits, with more elements and another task."""
    folder = tmp_path_factory.mktemp("start")
    start = MatRISMoE(preset("tiny", elements=["Cu", "Au"], tasks=["a", "b"], **fields)).double()
    with torch.no_grad():
        for weights in start.parameters():
            weights += 0.1 * torch.randn_like(weights)
        start.heads["energy"].references.table.normal_()
    save_model(start, folder / "model")
    more = preset("tiny", elements=["Cu", "Au", *others[:2]], tasks=["new", "a"], **fields)
    config = recipe(
        folder,
        {"a": metals(3)},
        f"start.run={folder / 'model'}",
        "start.task=b",
        "train.dtype=float64",
    )
    config = config.model_copy(update={"model": more.model_dump(mode="json")})
    model = continued_model(config, {})
    graph = [build_graph(metals(1, seed=6)[0].atoms, more.cutoff, more.line_cutoff)]
    for task, origin in (("new", "b"), ("a", "a")):
        found, expected = (
            predict(m, batch_graphs(graph, task=[m.config.tasks.index(name)]))
            for m, name in ((model, task), (start, origin))
        )
        torch.testing.assert_close(found.energy, expected.energy)
        torch.testing.assert_close(found.forces, expected.forces)
