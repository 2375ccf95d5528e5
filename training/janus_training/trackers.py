"""Metrics to TensorBoard and Weights & Biases, where a recipe asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from janus_md.errors import UserError
from janus_training.config import TrackConfig

FACTS = ("kind", "step", "epoch", "task")
IDENTITY = "wandb-id.txt"


class Tracker(Protocol):
    """Takes the rows of ``metrics.jsonl`` as they are written."""

    def write(self, row: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


def check_trackers(config: TrackConfig) -> None:
    """Raise ``UserError`` where the package for something that the recipe asks for is not installed."""
    if config.tensorboard:
        _summary_writer()
    if config.wandb is not None:
        _wandb()


def open_trackers(config: TrackConfig, run: Path, step: int) -> list[Tracker]:
    """What the recipe asks for of a run that begins, or goes on, at ``step``.

    Raises ``UserError`` where the package for it is not installed.
    """
    trackers: list[Tracker] = []
    if config.tensorboard:
        trackers.append(TensorBoard(run, step))
    if config.wandb is not None:
        trackers.append(Wandb(run, config.wandb))
    return trackers


class TensorBoard:
    """Event files in ``RUN/tensorboard``; what an earlier part of the run wrote after its checkpoint is dropped."""

    def __init__(self, run: Path, step: int) -> None:
        purged = step + 1 if step else None
        self._writer = _summary_writer()(str(run / "tensorboard"), purge_step=purged)

    def write(self, row: dict[str, Any]) -> None:
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """One run of a Weights & Biases project, named like the folder; a resumed run goes on in it."""

    def __init__(self, run: Path, project: str) -> None:
        self._run = _wandb().init(
            project=project, name=run.name, dir=str(run), id=_identity(run), resume="allow"
        )

    def write(self, row: dict[str, Any]) -> None:
        self._run.log(scalars(row), step=row["step"])

    def close(self) -> None:
        self._run.finish()


def _identity(run: Path) -> str:
    """What the project knows the run by: drawn once, kept in its folder."""
    file = run / IDENTITY
    if not file.exists():
        file.write_text(uuid4().hex)
    return file.read_text()


def scalars(row: dict[str, Any]) -> dict[str, float]:
    """``train/forces`` or ``valid/TASK/forces`` and the like: every number of a row, but not the accounts of ranks."""
    place = "/".join([row["kind"], *([row["task"]] if "task" in row else [])])
    return {
        f"{place}/{name}": value
        for name, value in row.items()
        if name not in FACTS and isinstance(value, int | float)
    }


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise _missing("tensorboard", "tensorboard") from None
    return SummaryWriter


def _wandb() -> Any:
    try:
        import wandb
    except ImportError:
        raise _missing("wandb", "wandb") from None
    return wandb


def _missing(key: str, extra: str) -> UserError:
    return UserError(
        f"track.{key} needs a package that is not installed; pip install 'janus-md[{extra}]'"
    )
