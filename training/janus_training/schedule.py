"""How far a run has come, and what follows from that: the learning rate and the weights of the loss.

Everything is a function of ``progress`` in [0, 1]. Progress is the share of the steps or epochs, or, when the
run ends by wall time, of the time that is left for training once the last validation has its share.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from janus_training.config import Ramp, ScheduleConfig, TrainConfig
from janus_training.sampler import Position


def lr_factor(schedule: ScheduleConfig, progress: float) -> float:
    """Learning rate as a share of its peak: linear warm-up, cosine, a stretch at the end value."""
    if progress < schedule.warmup:
        return max(progress / schedule.warmup, 0.01)
    middle = 1.0 - schedule.warmup - schedule.final
    phase = min((progress - schedule.warmup) / middle, 1.0)
    return schedule.lr_end + (1.0 - schedule.lr_end) * 0.5 * (1.0 + math.cos(math.pi * phase))


def weight_at(weight: float | Ramp, progress: float) -> float:
    """A constant weight, or the place on its ramp: geometric where both ends are positive, else linear."""
    if not isinstance(weight, Ramp):
        return weight
    span = weight.finish - weight.begin
    phase = float(progress >= weight.finish) if span == 0 else (progress - weight.begin) / span
    phase = min(max(phase, 0.0), 1.0)
    if weight.start > 0 and weight.end > 0:
        return float(weight.start * (weight.end / weight.start) ** phase)
    return weight.start + (weight.end - weight.start) * phase


@dataclass
class Clock:
    """Minutes since the run began, those before an interruption included."""

    before: float = 0.0

    def __post_init__(self) -> None:
        self._start = time.monotonic()

    @property
    def minutes(self) -> float:
        return self.before + (time.monotonic() - self._start) / 60.0


class Horizon:
    """When the run ends. ``reserve`` minutes are kept for the last validation and the report.

    ``batches_per_epoch`` is an estimate where batches go by atoms or edges: epochs then differ. It lays out the
    schedule; the end is that of the last epoch.
    """

    def __init__(self, train: TrainConfig, batches_per_epoch: int, clock: Clock) -> None:
        self._steps, self._epochs = train.steps, train.epochs
        self._batches_per_epoch = batches_per_epoch
        self.max_minutes = train.max_minutes
        self.reserve = 0.0
        self._clock = clock
        self._step_minutes = 0.0
        self._last = clock.minutes

    def step_done(self) -> None:
        """Note the time of a step, so that the last one does not run over."""
        now = self._clock.minutes
        self._step_minutes = max(0.9 * self._step_minutes, now - self._last)
        self._last = now

    def restart_step(self) -> None:
        """Whatever passed since the last step (a validation, a checkpoint) was not a step."""
        self._last = self._clock.minutes

    def progress(self, step: int, position: Position, ahead: float = 0.0) -> float:
        """Share of the run that is over before step number ``step`` (from 0); 1 means: stop.

        ``position``: of the batch that this step takes. ``ahead``: as it will be in so many minutes.
        """
        shares = [self._epochs_over(position)]
        if self._steps is not None:
            shares.append(step / self._steps)
        if self.max_minutes is not None:
            budget = max(self.max_minutes - self.reserve - self._step_minutes, 1e-9)
            shares.append((self._clock.minutes + ahead) / budget)
        return min(max(shares), 1.0)

    def _epochs_over(self, position: Position) -> float:
        """An epoch with more batches than estimated is not over before its last."""
        if self._epochs is None:
            return 0.0
        count = self._batches_per_epoch
        batches = position.epoch * count + min(position.batch, count - 1)
        return batches / (self._epochs * count)

    def minutes_left(self, progress: float) -> float:
        """Estimate for the progress bar."""
        if self.max_minutes is not None:
            return max(self.max_minutes - self._clock.minutes, 0.0)
        return self._clock.minutes * (1.0 - progress) / progress if progress > 0 else float("nan")
