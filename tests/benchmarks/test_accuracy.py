"""The comparison of accuracies: frames of every case, the shared error function, what the user gets wrong."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ase.io
import numpy as np
import pytest
from training_support import metals

from janus_md.errors import UserError
from janus_md.io import Frame, write_frames
from janus_training.config import DataConfig, SetConfig
from janus_training.data import load_frames

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "accuracy"
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def fingerprints(frames: list[Frame]) -> set[bytes]:
    return {frame.atoms.positions.round(6).tobytes() for frame in frames}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_frames(folder / "mlearn" / "Si-train.extxyz", metals(23))
    write_frames(folder / "mlearn" / "Si-test.extxyz", metals(6, seed=1))
    write_frames(folder / "hot-crystals-1k.extxyz", metals(40, seed=2))
    return folder


def test_validation_of_a_given_test_set_is_the_trainers(script, root: Path) -> None:
    cases = script("cases")
    split = cases.split_case(cases.CASES["si"], root)
    one = SetConfig(path="mlearn/Si-train.extxyz")
    theirs = load_frames(DataConfig(root=str(root), sets=[one], valid_fraction=0.1))
    assert fingerprints(split.train) == fingerprints(theirs.train)
    assert fingerprints(split.valid) == fingerprints(theirs.valid)
    assert len(split.test) == 6


def test_a_held_out_test_set_is_the_trainers_share(script, root: Path) -> None:
    cases = script("cases")
    split = cases.split_case(cases.CASES["hot-crystals"], root)
    one = SetConfig(path="hot-crystals-1k.extxyz")
    theirs = load_frames(DataConfig(root=str(root), sets=[one], valid_fraction=0.1))
    assert fingerprints(split.test) == fingerprints(theirs.valid)
    assert fingerprints(split.train + split.valid) == fingerprints(theirs.train)


@pytest.mark.parametrize("name", ["si", "hot-crystals"])
def test_no_frame_is_in_two_parts_and_files_hold_them(script, root: Path, name: str) -> None:
    cases = script("cases")
    facts = cases.write_case(name, root, root.parent / "written")
    found = {}
    for part, count in facts["count"].items():
        frames = ase.io.read(root.parent / "written" / f"{part}.extxyz", ":")
        assert len(frames) == count > 0
        assert all(set(frame.calc.results) == {"energy", "forces"} for frame in frames)
        found[part] = {frame.positions.round(6).tobytes() for frame in frames}
    assert not found["train"] & found["valid"] | (found["train"] | found["valid"]) & found["test"]
    assert cases.write_case(name, root, root.parent / "written") == facts
    assert set(facts["references"]) == set(facts["elements"]) == {"Cu", "Au"}


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not beside the checkout")
@pytest.mark.parametrize("name", ["3bpa", "mptrj"])
def test_the_real_sets(script, name: str) -> None:
    cases = script("cases")
    split = cases.split_case(cases.CASES[name], SHARED)
    parts = [fingerprints(part) for part in (split.train, split.valid, split.test)]
    assert not parts[0] & parts[1] | (parts[0] | parts[1]) & parts[2]
    frames = [*split.train, *split.valid, *split.test]
    assert max(frame.max_force for frame in frames) <= 10.0
    # Atomisation energies where isolated atoms are given: small enough for float32 to hold a tenth of a meV.
    if name == "3bpa":
        assert max(abs(frame.energy) for frame in frames) < 1000.0


def test_errors_are_per_atom_and_per_component(script) -> None:
    errors = script("errors").errors
    forces = [np.zeros((2, 3)), np.zeros((1, 3))]
    moved = [np.full((2, 3), 0.1), np.full((1, 3), -0.4)]
    found = errors([1.0, 2.5], moved, [1.2, 2.0], forces)
    assert found["energy_mae"] == pytest.approx(1000 * (0.1 + 0.5) / 2)
    assert found["force_mae"] == pytest.approx(1000 * (6 * 0.1 + 3 * 0.4) / 9)
    with pytest.raises(ValueError, match="shape"):
        errors([0.0], [np.zeros((3, 3))], [0.0], [np.zeros((2, 3))])
    assert errors([np.nan], forces[:1], [0.0], forces[:1])["energy_mae"] == np.inf


def test_our_errors_are_those_of_the_evaluation(script) -> None:
    from janus_training.evaluate import Result, errors_of

    errors = script("errors").errors
    frames, rng = metals(5), np.random.default_rng(0)
    results = [
        Result(f, f.energy + rng.normal(), f.forces + rng.normal(size=f.forces.shape), None)
        for f in frames
    ]
    ours = errors_of("file", "task", results)
    shared = errors(
        [r.energy for r in results],
        [r.forces for r in results],
        [f.energy for f in frames],
        [f.forces for f in frames],
    )
    assert shared == pytest.approx({name: ours[name] for name in shared})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--cases", "sii"], "case 'sii' is unknown"),
        (["--only", "macee"], "did you mean 'mace'"),
        (["--only", "mace-tuned"], "needs --peer mace=PYTHON"),
        (["--peer", "mace=/nowhere/python"], "there is no interpreter"),
        (["--peer", "mac=python"], "peer 'mac' is unknown"),
        (["--data", "/nowhere"], "is not a folder"),
        (["--minutes", "0"], "must be positive"),
        (["-o", __file__], "cannot be written into"),
    ],
)
def test_mistakes_are_told_in_a_sentence(script, root: Path, words: list[str], sentence) -> None:
    given = ["--data", str(root), "-o", str(root.parent / "runs"), *words]
    with pytest.raises(UserError, match=sentence):
        script("compare").read_plan(given)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ending_it_ends_the_training_that_it_started(root: Path) -> None:
    """A training had gone on after ``timeout 60 compare.py``."""
    runs = root.parent / "runs"
    words = ["--cases", "si", "--only", "ours", "--data", str(root), "-o", str(runs)]
    driver = subprocess.Popen([sys.executable, SCRIPTS / "compare.py", *words])

    def trainings() -> int:
        return sum(str(runs / "si" / "ours") in words for words in _command_lines())

    _wait_until(lambda: trainings() >= 2)  # the script and what it starts
    driver.terminate()
    assert driver.wait(30) == 128 + signal.SIGTERM
    _wait_until(lambda: not trainings())


def _command_lines() -> Iterator[str]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            yield file.read_text(errors="replace")


def _wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_the_recipes_are_valid_and_name_the_data_of_their_case(script) -> None:
    from janus_training.recipe import load_config

    cases, compare = script("cases"), script("compare")
    for name, case in cases.CASES.items():
        config = load_config(compare.recipe_of(name), [])
        assert [one.path for one in config.data.sets] == [case.train]
        assert config.data.max_force == case.max_force


def test_results_are_merged_and_tabled(script, tmp_path: Path) -> None:
    results = script("results")
    common = {
        "minutes": 1.0, "threads": 1, "seed": 0, "cpu": "c", "cpu_minutes": 1.0, "versions": {},
        "settings": {},
    }  # fmt: skip
    points = [{"minutes": 1.0, "energy_mae": 12.345, "force_mae": 67.89}]
    worse = [{"minutes": 1.0, "energy_mae": 8.4, "force_mae": 1229.6}]
    results.Results(tmp_path).add(results.Entry("si", "mace", points=worse, **common))
    results.Results(tmp_path).add(results.Entry("si", "ours", points=points, **common))
    found = results.Results(tmp_path)
    assert ("si", "mace", 1.0, 1, 0) in found and ("si", "mace", 2.0, 1, 0) not in found
    assert list(found.of("si", 1.0, 1)) == ["ours", "mace"] and not found.of("si", 1.0, 2)
    assert "12.3 / 67.9 | 8.40 / 1,230" in results.table(found, 1.0)


def test_seeds_and_threads_are_results_of_their_own(script, tmp_path: Path) -> None:
    """Another seed was once taken for what was there already and not run."""
    results = script("results")
    for seed, threads, error in ((0, 1, 10.0), (1, 1, 14.0), (0, 2, 7.0)):
        points = [{"minutes": 1.0, "energy_mae": error, "force_mae": 10 * error}]
        results.Results(tmp_path).add(
            results.Entry("si", "ours", 1.0, threads, seed, "c", 1.0, {}, {}, points=points)
        )
    found = results.Results(tmp_path)
    assert "| 12.0 (10.0 to 14.0) / 120 (100 to 140) |" in results.table(found, 1.0)
    assert "| 7.00 / 70.0 |" in results.table(found, 1.0, threads=2)


@pytest.mark.parametrize(("minutes", "threads"), [(10.0, 1), (30.0, 1), (30.0, 2)])
def test_the_published_tables_are_those_of_the_results(
    script, minutes: float, threads: int
) -> None:
    results = script("results")
    found = results.table(results.Results(SCRIPTS.parent / "results"), minutes, threads)
    assert found in (SCRIPTS.parent / "README.md").read_text(encoding="utf-8")


def test_ours_with_two_threads_is_ahead_of_every_peer_with_one_or_two(script) -> None:
    """As README.md says of thirty minutes of six cases."""
    results = script("results").Results(SCRIPTS.parent / "results")
    ended = {
        (case, threads, method): [entry.points[-1] for entry in entries]
        for case in script("cases").CASES
        for threads in (1, 2)
        for method, entries in results.of(case, 30.0, threads).items()
    }
    ours = {
        case: end
        for (case, threads, method), end in ended.items()
        if (threads, method) == (2, "ours")
    }
    assert len(ours) == 6
    for (case, _, method), points in ended.items():
        if case in ours and method.partition("-")[0] != "ours":
            for error in ("energy_mae", "force_mae"):
                assert max(p[error] for p in ours[case]) < min(p[error] for p in points), method


def job(script, folder: Path, **changes) -> object:
    fields = {
        "case": "si", "method": "mace", "data": "", "folder": str(folder), "minutes": 1.0, "started": 0.0,
        "threads": 1, "seed": 0, "epochs": None, "pace_seconds": 10.0, "elements": [], "references": {},
        "count": {"train": 100}, "recipe": "",
    }  # fmt: skip
    return script("job").Job(**fields | changes)


@pytest.fixture
def clock(script, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the benchmark's pacer sees, in its only member."""
    now = [0.0]
    monkeypatch.setattr(script("job").time, "time", lambda: now[0])
    return now


def test_the_pace_leaves_the_slow_first_steps_to_the_set_up(script, tmp_path, clock) -> None:
    module = script("job")
    pacer = module.Pacer(job(script, tmp_path), batch_size=4)
    with pytest.raises(module.OutOfTime):
        for step in range(200):
            clock[0] += 5.0 if step < 3 else 0.5
            pacer.step(lambda path: None)
    pace = json.loads((tmp_path / "pace.json").read_text())
    assert pace == pytest.approx({"set_up_s": 3 * 4.5, "epoch_s": 25 * 0.5})
    epochs = script("compare").epochs_in(1.0, **pace)
    assert epochs == int((60 - 13.5) * 0.95 / 12.5)


def test_weights_are_kept_on_the_way_and_at_the_end(script, tmp_path, clock) -> None:
    module = script("job")
    pacer = module.Pacer(job(script, tmp_path, epochs=9, minutes=10.0), batch_size=4)
    kept = []
    with pytest.raises(module.OutOfTime):
        while True:
            clock[0] += 7.0
            pacer.step(lambda path: kept.append(float(path.name)))
    assert len(kept) == len(module.FRACTIONS) + 1
    late = np.array(kept) - 10.0 * np.array([*module.FRACTIONS, 1.0])
    assert (late >= -1e-9).all() and (late <= 7.0 / 60 + 1e-3).all()


def test_our_recipe_is_recorded_as_it_was_run(script, tmp_path: Path) -> None:
    """Results once told of the recipe's own minutes and threads, not of those of the run."""
    recipe = str(script("compare").recipe_of("si"))
    started = time.time() - 60.0
    asked = {"recipe": recipe, "minutes": 5.0, "started": started, "threads": 3, "seed": 7}
    plain = script("run_ours").recipe_as_run(job(script, tmp_path, method="ours", **asked))
    assert plain["train"]["max_minutes"] == pytest.approx(4.0, abs=0.1)
    assert (plain["train"]["threads"], plain["train"]["seed"]) == (3, 7)
    compiled = job(script, tmp_path, method="ours-compiled", **asked)
    assert script("run_ours").recipe_as_run(compiled)["train"]["compile"] is True
    assert "compile" not in plain["train"]
