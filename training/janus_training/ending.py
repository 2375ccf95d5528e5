"""A run that has come to its end: nothing is left to do unless a later end is asked for."""

from __future__ import annotations

from pathlib import Path

from janus_training.config import TrainConfig
from janus_training.progress import last_state, load_progress
from janus_training.schedule import Clock, Horizon


def what_is_finished(
    run: Path, train: TrainConfig, batches_per_epoch: int, clock: Clock
) -> str | None:
    """What to say where ``run`` has its report and ``train`` asks for nothing beyond it; None where there is more."""
    state = load_progress(run)
    if state is None or not _is_reported(run):
        return None
    clock.before = state.minutes
    horizon = Horizon(train, batches_per_epoch, clock)
    horizon.reserve = state.reserve
    # A run by wall time ends before its time by what its last validation and step might have taken.
    timed_out = train.max_minutes is not None and train.max_minutes <= state.ended
    if not timed_out and horizon.progress(state.step, state.position) < 1.0:
        return None
    limit = limit_of(train, state.step, state.position.epoch)
    return (
        f"{run} is finished: {state.step} steps in {state.minutes:.1f} min, the end that"
        f" {limit}={getattr(train, limit.removeprefix('train.'))} sets;"
        f" to go on, give --resume --set {limit}=MORE"
    )


def _is_reported(run: Path) -> bool:
    """Whether the report, which is written last, is of the last checkpoint and not of an earlier end."""
    report = run / "report.html"
    return report.is_file() and report.stat().st_mtime >= last_state(run).stat().st_mtime


def limit_of(train: TrainConfig, step: int, epoch: int) -> str:
    """The setting that ends the run at ``step``, with ``epoch`` epochs over."""
    if train.steps is not None and step >= train.steps:
        return "train.steps"
    if train.epochs is not None and epoch >= train.epochs:
        return "train.epochs"
    return "train.max_minutes"
