"""A run saved on some ranks goes on on others; what is not whole is not taken for whole."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
import torch
from parallel_support.launchers import write_recipe
from parallel_support.runs import resume, save_again, tensors_of, train_each

from janus_md.export import export_model
from janus_md.model import load_model
from janus_md.model.parts import Parts
from janus_training.parallel.processes import on_ranks

DOUBLE = ["train.dtype=float64", "train.validate_every=100"]


def on(ranks: int, unit: int | None = None) -> list[str]:
    return [f"parallel.unit={unit or ranks}"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of one process; beside it, the first two of them."""
    folder = tmp_path_factory.mktemp("alone")
    jobs = [(recipe, folder / f"{steps}", [*DOUBLE, f"train.steps={steps}"]) for steps in (6, 2)]
    on_ranks(1, train_each, jobs)
    return folder / "6"


@pytest.fixture(scope="module")
def four(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of a unit of four ranks; beside it the first three, of one unit and of two."""
    folder = tmp_path_factory.mktemp("four")
    jobs = [
        (recipe, folder / name, [*DOUBLE, *on(4, unit), f"train.steps={steps}"])
        for name, unit, steps in (("6", 4, 6), ("3", 4, 3), ("3-units-of-two", 2, 3))
    ]
    on_ranks(4, train_each, jobs)
    return folder / "6"


def gone_on(run: Path, folder: Path, ranks: list[int], ends: list[int]) -> Path:
    """A copy of ``run``, continued on so many ranks up to so many steps."""
    copy = folder / "run"
    shutil.copytree(run, copy, symlinks=True)
    for size, end in zip(ranks, ends, strict=True):
        assert not any(on_ranks(size, resume, copy, [*on(size), f"train.steps={end}"]))
    return copy


def assert_close(found: Path, expected: Path) -> None:
    """Double precision tells a wrong step from the order of sums."""
    ours, theirs = tensors_of(found), tensors_of(expected)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("ranks", [2, 1])
def test_fewer_ranks_go_on(four: Path, alone: Path, tmp_path: Path, ranks: int) -> None:
    assert_close(gone_on(four.with_name("3"), tmp_path, [ranks], [6]), alone)


def test_units_of_two_go_on_in_one_process(four: Path, alone: Path, tmp_path: Path) -> None:
    assert_close(gone_on(four.with_name("3-units-of-two"), tmp_path, [1], [6]), alone)


def test_more_ranks_go_on(alone: Path, tmp_path: Path) -> None:
    assert_close(gone_on(alone.with_name("2"), tmp_path, [2, 4], [4, 6]), alone)


def test_as_many_ranks_go_on_to_the_last_bit(four: Path, tmp_path: Path) -> None:
    """Also where a process died while it wrote the checkpoints that are due next, or others."""
    run = tmp_path / "start"
    shutil.copytree(four.with_name("3"), run, symlinks=True)
    checkpoints = run / "checkpoints"
    halves = [checkpoints / f".step-{step:08d}.part" for step in (4, 6)]
    for half in halves:
        shutil.copytree(checkpoints / "last", half)
        for place in (0, 1, 3):
            (half / f".done-{place}").touch()
        (half / "training-00003-of-00004.safetensors").write_bytes(b"half of it")
    found = gone_on(run, tmp_path, [4], [6])
    assert not list((found / "checkpoints").glob(".*"))
    ours, theirs = tensors_of(found), tensors_of(four)
    assert ours.keys() == theirs.keys()
    assert [name for name, value in ours.items() if not torch.equal(value, theirs[name])] == []


def test_eigenbases_go_on(recipe: Path, tmp_path: Path) -> None:
    """To the last bit in one process; begun on two ranks, to the same weights."""
    soap = [*DOUBLE, "optimiser.method=soap"]
    for ranks, jobs in ((1, {"12": 12, "24": 24}), (2, {"two": 12})):
        settings = [[*soap, *on(ranks), f"train.steps={steps}"] for steps in jobs.values()]
        folders = [tmp_path / name for name in jobs]
        on_ranks(ranks, train_each, [(recipe, *job) for job in zip(folders, settings, strict=True)])
    expected = tensors_of(tmp_path / "24")
    one = tensors_of(gone_on(tmp_path / "12", tmp_path / "one", [1], [24]))
    assert one.keys() == expected.keys()
    assert [name for name, value in one.items() if not torch.equal(value, expected[name])] == []
    two = tensors_of(gone_on(tmp_path / "two", tmp_path / "other", [1], [24]))
    assert two.keys() == expected.keys()
    for name in (name for name in two if "optimizer." not in name):
        torch.testing.assert_close(two[name], expected[name], rtol=1e-6, atol=1e-8, msg=name)


def test_ranks_begin_with_a_trained_model(recipe: Path, four: Path, tmp_path: Path) -> None:
    """As one process does, here with a checkpoint in parts."""
    settings = [*DOUBLE, f"start.run={four}", "train.steps=3"]
    for ranks, name in ((1, "one"), (2, "two")):
        job = recipe, tmp_path / name, [*settings, *on(ranks)]
        on_ranks(ranks, train_each, [job])
    assert_close(tmp_path / "two", tmp_path / "one")


def test_only_a_half_written_checkpoint_is_none(four: Path, tmp_path: Path) -> None:
    """The run begins anew."""
    run = tmp_path / "start"
    shutil.copytree(four.with_name("3"), run, symlinks=True)
    checkpoints = run / "checkpoints"
    (checkpoints / "last").readlink()
    half = checkpoints / ".step-00000003.part"
    (checkpoints / (checkpoints / "last").readlink()).rename(half)
    for link in ("last", "best"):
        (checkpoints / link).unlink()
    found = gone_on(run, tmp_path, [4], [6])
    ours, theirs = tensors_of(found), tensors_of(four)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_export_from_parts_is_that_of_one_rank(four: Path, tmp_path: Path) -> None:
    on_ranks(1, save_again, four, tmp_path / "again")
    files = []
    for run in (four, tmp_path / "again"):
        files.append(tmp_path / f"{len(files)}.janus.pt")
        export_model(load_model(run / "checkpoints" / "last"), files[-1])
    states = [torch.jit.load(file).state_dict() for file in files]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    with closing(Parts(four / "checkpoints" / "last" / "model.safetensors")) as parts:
        assert len(list(parts.file.parent.glob("model-*-of-00004.safetensors"))) == 4


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda file: file.unlink(), "{} is missing: restore it from a copy"),
        (
            lambda file: file.write_bytes(file.read_bytes()[:-1000]),
            "{} is damaged or cut off: restore it from a copy, or write it again by training",
        ),
    ],
    ids=["missing", "cut off"],
)
def test_a_harmed_part_is_named(four: Path, tmp_path: Path, ranks: int, harm, words: str) -> None:  # type: ignore[no-untyped-def]
    run = tmp_path / "run"
    shutil.copytree(four, run, symlinks=True)
    last = run / "checkpoints" / "last"
    part = last / "training-00002-of-00004.safetensors"
    harm(part)
    said = on_ranks(ranks, resume, run, [*on(ranks), "train.steps=8"])
    assert said == [words.format(part)] * ranks
