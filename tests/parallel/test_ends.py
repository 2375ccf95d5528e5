"""Numbers that do not divide by the ranks: nobody waits for a batch that does not come."""

from pathlib import Path

import pytest
from parallel_support.launchers import assert_same_metrics, write_recipe
from parallel_support.runs import train_each, turn_of_model
from training_support import metals

from janus_md.io import write_frames
from janus_training.parallel.processes import on_ranks

CASES = {
    "no frame to validate on": (0, ["batch.structures=3"]),
    "fewer frames than ranks": (2, ["batch.structures=3"]),
    "one batch more than ranks, of one structure each": (5, ["batch.structures=1"]),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames to train on."""
    folder = tmp_path_factory.mktemp("recipe")
    path = write_recipe(folder)
    for count in (2, 5, 7):
        write_frames(folder / "data" / f"{count}.extxyz", metals(count, seed=count))
    return path


@pytest.mark.parametrize("case", CASES)
def test_every_rank_gets_to_the_end(recipe: Path, tmp_path: Path, case: str) -> None:
    """Four ranks, in units of one, two and four, with the metrics of one process; an epoch or less."""
    valid, settings = CASES[case]
    sets = "data.valid_fraction=0" if valid == 0 else f"data.sets.0.valid={valid}.extxyz"
    settings = [
        *settings,
        "data.sets.0.path=7.extxyz",
        sets,
        "train.steps=3",
        "train.dtype=float64",
    ]
    jobs = [
        (recipe, tmp_path / f"{unit}", [*settings, f"parallel.unit={unit}"]) for unit in (1, 2, 4)
    ]
    on_ranks(4, train_each, jobs)
    on_ranks(1, train_each, [(recipe, tmp_path / "alone", settings)])
    for _, run, _ in jobs:
        assert_same_metrics(run, tmp_path / "alone", 1e-6)


def test_ranks_of_a_node_make_their_models_in_turn(recipe: Path, tmp_path: Path) -> None:
    """And those of other nodes at the same time: with hundreds of ranks a start would take hours."""
    first, second, *others = on_ranks(4, turn_of_model, recipe, tmp_path / "run")
    assert second == first + 1
    assert others == [first, second]
