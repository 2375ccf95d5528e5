"""Errors per file and task, against numbers worked out by hand, and the commands that show them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from ase.io import write
from training_support import metals
from typer.testing import CliRunner

from janus_md.cli import data as data_command
from janus_md.cli import eval as eval_command
from janus_md.cli import train as train_command
from janus_md.errors import UserError
from janus_md.graph import batch_graphs, build_graph
from janus_md.io import Frame, LabelKeys, read_frames, write_frames
from janus_md.model import MatRISMoE, load_model, predict, preset, save_model
from janus_training.evaluate import evaluate_files

KEYS = [
    "file", "task", "frames", "energy_mae", "energy_rmse", "force_mae", "force_rmse",
    "stress_mae", "stress_rmse", "magmom_mae", "magmom_rmse",
]  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = preset(
        "tiny", elements=["Cu", "Au"], tasks=["emt", "other"], cutoff=4.0, line_cutoff=3.0
    )
    save_model(MatRISMoE(config).double(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    for module in (train_command, eval_command, data_command):
        module.register(app)
    return app


def shifted(checkpoint: Path, frames: list[Frame], task: int) -> list[Frame]:
    """Labels of the model itself, energies off by ±3 meV/atom, forces by 5 meV/Å, stress by 7 meV/Å³."""
    model = load_model(checkpoint)
    for number, frame in enumerate(frames):
        batch = batch_graphs([build_graph(frame.atoms, 4.0, 3.0)], task=[task])
        found = predict(model, batch, stress=True)
        sign = -1 if number % 2 else 1
        frame.energy = float(found.energy) + sign * 0.003 * len(frame.atoms)
        frame.forces = found.forces.numpy() + 0.005
        frame.stress = found.stress[0].numpy() + 0.007
    return frames


def test_labels_by_other_names_are_pointed_out(checkpoint: Path, tmp_path: Path) -> None:
    """Dashes alone would leave a reader to wonder."""
    atoms = metals(1)[0].atoms
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = -3.0, np.ones((len(atoms), 3))
    write(tmp_path / "a.extxyz", atoms)
    words = r"frame 0 has REF_forces and REF_energy but no label: give --key forces=REF_forces energy=REF_energy"
    with pytest.raises(UserError, match=words):
        evaluate_files(checkpoint, [tmp_path / "a.extxyz"], task="emt")
    keys = LabelKeys(energy="REF_energy")
    assert evaluate_files(checkpoint, [tmp_path / "a.extxyz"], task="emt", keys=keys)


def test_errors_are_those_put_in(checkpoint: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "a.extxyz", shifted(checkpoint, metals(5), 1))
    (row,) = evaluate_files(checkpoint, [tmp_path / "a.extxyz"], task="other")
    assert list(row) == KEYS
    assert (row["task"], row["frames"]) == ("other", 5)
    found = [row[name] for name in KEYS[3:]]  # type: ignore[literal-required]
    assert found[:-2] == pytest.approx([3.0, 3.0, 5.0, 5.0, 7.0, 7.0], rel=1e-4)
    assert found[-2:] == [None, None]


def test_magnetic_moments_have_errors_where_the_model_has_them(tmp_path: Path) -> None:
    """Labels 11 thousandths larger than the model's, and of the other sign."""
    torch.manual_seed(0)
    config = preset(
        "tiny", elements=["Cu", "Au"], tasks=["emt"], cutoff=4.0, line_cutoff=3.0, magmoms=True
    )
    model = MatRISMoE(config).double()
    save_model(model, tmp_path / "model")
    frames = metals(3)
    for frame in frames:
        moments = predict(model, batch_graphs([build_graph(frame.atoms, 4.0, 3.0)])).magmoms
        frame.magmoms = -moments.numpy() - 0.011
    write_frames(tmp_path / "a.extxyz", frames)
    (row,) = evaluate_files(tmp_path / "model", [tmp_path / "a.extxyz"], task="emt")
    assert row["magmom_mae"] == pytest.approx(11.0, rel=1e-3)


def test_missing_labels_are_null(checkpoint: Path, tmp_path: Path, app: typer.Typer) -> None:
    frames = metals(4)
    for frame in frames:
        frame.stress = None
    frames[0].energy = None
    write_frames(tmp_path / "a.extxyz", frames)
    write_frames(tmp_path / "b.extxyz", [Frame(f.atoms, energy=f.energy) for f in frames[1:]])
    files = [str(tmp_path / name) for name in ("a.extxyz", "b.extxyz")]
    output = tmp_path / "errors.json"
    arguments = ["eval", str(checkpoint), *files, "--task", "emt", "--json", str(output)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    rows = json.loads(output.read_text())
    assert [row["file"] for row in rows] == files
    assert all(list(row) == KEYS for row in rows)
    assert rows[0]["stress_mae"] is None and rows[0]["force_mae"] > 0 and rows[0]["energy_mae"] > 0
    assert rows[1]["force_rmse"] is None and rows[1]["frames"] == 3
    assert "energy in meV/atom" in result.output


def test_tasks_in_the_file_are_kept_apart(checkpoint: Path, tmp_path: Path) -> None:
    frames = metals(5)
    for number, frame in enumerate(frames):
        frame.task = "emt" if number < 3 else "other"
    write_frames(tmp_path / "a.extxyz", frames)
    rows = evaluate_files(checkpoint, [tmp_path / "a.extxyz"])
    assert [(row["task"], row["frames"]) for row in rows] == [("emt", 3), ("other", 2)]


def test_the_batch_does_not_matter(checkpoint: Path, tmp_path: Path) -> None:
    from janus_training.config import BatchConfig

    frames = [*metals(4), Frame(metals(1, seed=3)[0].atoms.repeat((2, 1, 1)), energy=1.0)]
    write_frames(tmp_path / "a.extxyz", frames)
    file = [tmp_path / "a.extxyz"]
    one = evaluate_files(checkpoint, file, "emt", budget=BatchConfig(structures=1))[0]
    all_at_once = evaluate_files(checkpoint, file, "emt")[0]
    for name in KEYS[3:-2]:
        assert one[name] == pytest.approx(all_at_once[name], rel=1e-9)  # type: ignore[literal-required]


def with_labels_elsewhere(path: Path, frames: list[Frame]) -> Path:
    """A file with ``REF_energy`` and ``REF_forces``, and nothing where ASE looks for labels."""
    structures = []
    for frame in frames:
        atoms = frame.atoms.copy()
        atoms.info["REF_energy"] = frame.energy
        atoms.arrays["REF_forces"] = frame.forces
        structures.append(atoms)
    write(path, structures)
    return path


def test_labels_under_other_names_are_evaluated(
    checkpoint: Path, tmp_path: Path, app: typer.Typer
) -> None:
    """What ``data.sets.keys`` lets train could not be evaluated: there was a dash in every column."""
    file = with_labels_elsewhere(tmp_path / "a.extxyz", shifted(checkpoint, metals(5), 1))
    output = tmp_path / "errors.json"
    arguments = ["eval", str(checkpoint), str(file), "--task", "other", "--json", str(output)]
    names = ["--key", "energy=REF_energy", "--key", "forces=REF_forces"]
    CliRunner().invoke(app, [*arguments, *names], catch_exceptions=False)
    (row,) = json.loads(output.read_text())
    assert row["stress_mae"] is None
    assert [row[name] for name in KEYS[3:7]] == pytest.approx([3.0, 3.0, 5.0, 5.0], rel=1e-4)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["energy=REF_enrgy"], "a.extxyz, frame 0 has no 'REF_enrgy'.*did you mean 'REF_energy'"),
        (["enrgy=REF_energy"], "no label 'enrgy' .did you mean 'energy'"),
        (["REF_energy"], "--key REF_energy is not LABEL=NAME"),
        (["energy="], "--key energy= is not LABEL=NAME"),
        (["energy=a", "energy=b"], "names energy twice; keep one of a and b"),
    ],
)
def test_wrong_names_of_labels(
    checkpoint: Path, tmp_path: Path, app: typer.Typer, pairs: list[str], words: str
) -> None:
    file = with_labels_elsewhere(tmp_path / "a.extxyz", metals(1))
    names = [part for pair in pairs for part in ("--key", pair)]
    for command in (["eval", str(checkpoint)], ["data", "inspect"]):
        with pytest.raises(UserError, match=words):
            CliRunner().invoke(app, [*command, str(file), *names], catch_exceptions=False)


@pytest.mark.parametrize(
    ("task", "words"), [(None, "is not stated for.*--task"), ("emd", "did you mean 'emt'")]
)
def test_a_task_is_needed(checkpoint: Path, tmp_path: Path, task: str | None, words: str) -> None:
    write_frames(tmp_path / "a.extxyz", metals(1))
    with pytest.raises(UserError, match=words):
        evaluate_files(checkpoint, [tmp_path / "a.extxyz"], task)


def test_an_element_the_model_lacks_is_named(checkpoint: Path, tmp_path: Path) -> None:
    frame = metals(1)[0]
    frame.atoms.symbols[0] = "Ag"
    write_frames(tmp_path / "a.extxyz", [frame])
    with pytest.raises(UserError, match="Ag"):
        evaluate_files(checkpoint, [tmp_path / "a.extxyz"], "emt")


def test_nothing_is_overwritten(checkpoint: Path, tmp_path: Path, app: typer.Typer) -> None:
    write_frames(tmp_path / "a.extxyz", metals(1))
    (tmp_path / "errors.json").write_text("mine")
    arguments = ["eval", str(checkpoint), str(tmp_path / "a.extxyz"), "--task", "emt"]
    arguments += ["--json", str(tmp_path / "errors.json")]
    with pytest.raises(UserError, match="already exists"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert (tmp_path / "errors.json").read_text() == "mine"


def test_data_convert_split_inspect(tmp_path: Path, app: typer.Typer) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    source = tmp_path / "a.extxyz"
    write_frames(source, metals(10))
    run("data", "convert", source, "-o", tmp_path / "a.aselmdb")
    assert len(read_frames(tmp_path / "a.aselmdb")) == 10
    parts = [tmp_path / name for name in ("train.extxyz", "valid.extxyz")]
    run("data", "split", source, "-o", parts[0], "-s", 0.7, "-o", parts[1], "-s", 0.3)
    assert [len(read_frames(part)) for part in parts] == [7, 3]
    energies = sorted(f.energy for part in parts for f in read_frames(part))
    np.testing.assert_allclose(energies, sorted(f.energy for f in read_frames(source)))
    assert "labels: energy in 10, forces in 10, stress in 10 frames" in run(
        "data", "inspect", source
    )
    statistics = run("data", "statistics", source)
    assert "force rms" in statistics and "eV/Å\n" in statistics
    with pytest.raises(UserError, match="exists already"):
        run("data", "split", source, "-o", parts[0], "-s", 0.5, "-o", parts[1], "-s", 0.5)


def test_data_commands_know_other_names_of_labels(tmp_path: Path, app: typer.Typer) -> None:
    frames = metals(4)
    source = with_labels_elsewhere(tmp_path / "a.extxyz", frames)
    names = ["--key", "energy=REF_energy", "--key", "forces=REF_forces"]

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        return result.output

    assert "labels: none" in run("data", "inspect", source)
    assert "names like labels: REF_energy in 4, REF_forces in 4 frames" in run(
        "data", "inspect", source
    )
    assert "labels: energy in 4, forces in 4 frames" in run("data", "inspect", source, *names)
    assert "force rms: none" in run("data", "statistics", source)
    assert "force rms: none" not in run("data", "statistics", source, *names)
    run("data", "convert", source, "-o", tmp_path / "b.extxyz", *names)
    found = [frame.energy for frame in read_frames(tmp_path / "b.extxyz")]
    assert found == pytest.approx([frame.energy for frame in frames])


def test_train_refuses_before_reading_data(tmp_path: Path, recipe: Path, app: typer.Typer) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    with pytest.raises(UserError, match="already holds a run"):
        CliRunner().invoke(
            app, ["train", str(recipe), "-o", str(tmp_path / "run")], catch_exceptions=False
        )
    with pytest.raises(UserError, match="no recipe is given"):
        CliRunner().invoke(app, ["train", "-o", str(tmp_path / "new")], catch_exceptions=False)
