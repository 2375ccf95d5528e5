"""What trackers are given; the packages themselves are replaced by what records it."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from janus_training.config import TrackConfig
from janus_training.metrics import Metrics

ROW = {
    "kind": "train", "step": 10, "epoch": 0, "loss": 1.5, "lr": 0.1,
    "ranks": {"bytes": {"energy/graphs": 8.0}},
}  # fmt: skip


class Writer:
    """Of TensorBoard: takes numbers alone, as the real one does."""

    made: ClassVar[list["Writer"]] = []

    def __init__(self, folder: str, purge_step: int | None = None) -> None:
        self.purge_step = purge_step
        self.written: dict[str, float] = {}
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        if not isinstance(value, int | float):
            raise NotImplementedError
        self.written[name] = value

    def close(self) -> None:
        pass


def test_tensorboard_gets_the_numbers_of_a_row_with_accounts_of_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed run replaces what the first part wrote after its checkpoint."""
    monkeypatch.setattr(Writer, "made", [])
    package = SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    for step in (0, 7):
        metrics = Metrics(tmp_path, step, TrackConfig(tensorboard=True))
        metrics.write(ROW)
        metrics.close()
    assert [writer.purge_step for writer in Writer.made] == [None, 8]
    for writer in Writer.made:
        assert writer.written == {"train/loss": 1.5, "train/lr": 0.1}


def test_a_resumed_run_goes_on_in_its_run_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    run = SimpleNamespace(log=lambda row, step: None, finish=lambda: None)
    package = SimpleNamespace(init=lambda **settings: started.append(settings) or run)
    monkeypatch.setitem(sys.modules, "wandb", package)
    for folder in ("a", "a", "b"):
        (tmp_path / folder).mkdir(exist_ok=True)
        Metrics(tmp_path / folder, 0, TrackConfig(wandb="metals")).close()
    first, again, other = (settings["id"] for settings in started)
    assert first == again != other
