"""The loop over steps: a run from its last checkpoint, or its beginning, to its end."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from janus_md.errors import UserError
from janus_training.checkpoint import Checkpoints
from janus_training.config import Config
from janus_training.ema import Ema
from janus_training.ending import limit_of
from janus_training.evaluate import Result
from janus_training.interruptions import interruptions
from janus_training.loss import weights_at
from janus_training.metrics import Metrics, Reporter
from janus_training.optimizer import build_optimizer, peak_rate, set_rate
from janus_training.parallel.evaluate import predict_shared
from janus_training.parallel.janus import Janus
from janus_training.parallel.share import Share, Shares
from janus_training.prefetch import prefetch
from janus_training.prepare import Data
from janus_training.profile import StepProfile
from janus_training.progress import Progress
from janus_training.report import write_report
from janus_training.run import change_config, write_sample
from janus_training.sampler import Position
from janus_training.schedule import Clock, Horizon, lr_factor
from janus_training.score import ErrorsByLabel, score, validation_errors
from janus_training.step import take_step

MAE_UNITS = {"energy": "meV/atom", "forces": "meV/Å", "stress": "meV/Å³", "magmoms": "mμ_B"}

REPORT_MINUTES = 0.2
"""Kept at the end of a run by wall time for the last checkpoint and the report."""


class Trainer:
    """Steps, validations and checkpoints of a run. Each rank has one, and they do the same at the same time."""

    def __init__(
        self, config: Config, data: Data, run: Path, janus: Janus, clock: Clock,
        reporter: Reporter, recorder: StepProfile,
    ) -> None:  # fmt: skip
        """What the last checkpoint of ``run`` holds goes into ``janus`` and ``clock``."""
        self._config, self._data, self._run, self._janus = config, data, run, janus
        self._clock, self._reporter, self._recorder = clock, reporter, recorder
        self._mesh = janus.mesh
        batches_per_epoch = len(data.sampler.epoch(0))
        structures_per_batch = len(data.train) / batches_per_epoch
        self._shares = Shares(data.train, self._mesh, janus.too_large)
        self._optimizer = build_optimizer(janus.model, config.optimiser, structures_per_batch)
        self._peak = peak_rate(config.optimiser, structures_per_batch)
        self._ema = Ema(janus.model, config.ema.decay)
        behind = config.train.checkpoint_behind
        self._checkpoints = Checkpoints(run, janus, self._optimizer, self._ema, behind)
        self._state = self._loaded()
        if self._mesh.first:
            change_config(run, config, self._state.step)
            write_sample(run, data.frames.valid or data.frames.train)
        clock.before = self._state.minutes
        self._horizon = Horizon(config.train, batches_per_epoch, clock)
        self._horizon.reserve = self._state.reserve
        self._metrics = Metrics(run, self._state.step, config.track, writes=self._mesh.first)
        self._saved = clock.minutes
        self._mesh.ledger.watches_memory = self._mesh.world.size > 1 or recorder.wanted

    def finish(self) -> None:
        """Train to the end of the run and write its report.

        Raises:
            UserError: interrupted, no time for a single step, or a loss that is no longer finite.
        """
        with closing(self._metrics), self._checkpoints, interruptions() as interrupted:
            if self._state.step == 0:
                self._validate()
            if not self._take_steps(interrupted):
                self._save(best=False)
                self._checkpoints.wait()
                raise UserError(
                    f"{self._run} was interrupted at step {self._state.step}; continue it with --resume"
                )
            if self._state.step == 0:
                raise UserError(
                    f"{self._run} had no time for a single step, as the last validation and the report are given "
                    f"{self._horizon.reserve:.1f} minutes; go on with --resume --set train.max_minutes=MORE, "
                    "or remove it"
                )
            train, epoch = self._config.train, self._state.position.epoch
            if limit_of(train, self._state.step, epoch) == "train.max_minutes":
                self._state.ended = train.max_minutes or 0.0
            results = self._validate()
            self._checkpoints.wait()
        self._report(results)

    def _loaded(self) -> Progress:
        weights = weights_at(self._config.loss, 1.0)
        loaded = self._checkpoints.load()
        if loaded is None:
            return Progress(weights=weights)
        self._reporter.say(f"{self._run}: going on from the checkpoint of step {loaded.step}")
        if loaded.weights != weights:
            self._reporter.say(
                "the loss has other weights now: the next validation is the best until a better one"
            )
            loaded.best, loaded.weights = None, weights
        return loaded

    def _take_steps(self, interrupted: Sequence[float]) -> bool:
        """Steps, and what is due between them, to the end of the run; False where an interruption comes before."""
        with closing(self._batches()) as batches:
            # One clock, that of the first rank, decides for all.
            while (progress := self._mesh.agreed(self._progress())[0]) < 1.0:
                if self._mesh.any(bool(interrupted)):
                    return False
                position, share = next(batches)
                self._take_step(share, position, progress)
                self._keep(first_of_epoch=position.batch == 0)
        return True

    def _progress(self, ahead: float = 0.0) -> float:
        return self._horizon.progress(self._state.step, self._state.position, ahead)

    def _batches(self) -> Generator[tuple[Position, Share], None, None]:
        """Endless (position after the batch, this rank's share of it), prepared ahead."""
        walk = self._data.sampler.walk(self._state.position)
        made = ((after, self._shares(chosen)) for after, chosen in walk)
        return prefetch(made, self._config.data.prefetch)

    def _take_step(self, share: Share, position: Position, progress: float) -> None:
        """``position``: after the batch. ``progress``: of the run before it, which sets learning rate and loss."""
        state, recorder = self._state, self._recorder
        rate = self._peak * lr_factor(self._config.schedule, progress)
        set_rate(self._optimizer, rate)
        recorder.begin_step()
        on_device = share.to(self._janus.device)
        row = take_step(self._janus, self._optimizer, on_device, self._config, progress)
        self._ema.update(state.step)
        state.step, state.position = state.step + 1, position
        self._horizon.step_done()
        due = self._mesh.world.size > 1 and state.step % self._config.train.log_every == 0
        if due or recorder.records:
            row["ranks"] = self._janus.accounts(share)
        recorder.end_step(row.get("ranks"))
        self._write_step(row | {"lr": rate}, progress)

    def _keep(self, first_of_epoch: bool) -> None:
        """Validate or write a checkpoint where it is time."""
        # A validation must not eat the stretch at the last learning rate, nor repeat the last one.
        after, unsaved = self._mesh.agreed(
            self._progress(ahead=self._horizon.reserve), self._clock.minutes - self._saved
        )
        every = self._config.train.validate_every
        at_place = self._state.step % every == 0 if every else first_of_epoch
        if at_place and after < 1.0 - self._config.schedule.final:
            self._validate()
        elif unsaved > self._config.train.checkpoint_minutes:
            self._save(best=False)

    def _validate(self) -> list[Result]:
        """Score the averaged weights and save; note how long that takes, for the end of the run."""
        begin, state = self._clock.minutes, self._state
        with self._ema.applied():
            results = predict_shared(self._janus, self._data.valid, self._config.batch)
        errors = validation_errors(results)
        self._write_validation(errors)
        self._horizon.reserve = 1.5 * (self._clock.minutes - begin) + REPORT_MINUTES
        found = score(errors, self._config.loss)
        if found is None and state.step == 0:
            self._reporter.say(
                "no frame to validate on has a label with a weight: checkpoints/best is the last"
            )
        unknown = state.best is None or math.isnan(state.best)
        better = found is None or unknown or found < state.best
        state.best = found if better else state.best
        self._save(best=better)
        return results

    def _save(self, best: bool) -> None:
        self._state.minutes, self._state.reserve = self._clock.minutes, self._horizon.reserve
        self._checkpoints.save(self._state, best)
        self._horizon.restart_step()
        self._saved = self._clock.minutes

    def _write_step(self, row: dict[str, Any], progress: float) -> None:
        state = self._state
        place = {"kind": "train", "step": state.step, "epoch": state.position.epoch}
        self._metrics.write(place | {"minutes": round(self._clock.minutes, 4)} | row)
        message = "  ".join(
            f"{name} {row[name]:.4g}" for name in ("loss", "energy", "forces") if name in row
        )
        left = self._horizon.minutes_left(progress)
        self._reporter.step(state.step, progress, left, message)

    def _write_validation(self, errors: dict[str, ErrorsByLabel]) -> None:
        """One row a task."""
        step, minutes = self._state.step, self._clock.minutes
        for task, found in errors.items():
            place = {"kind": "valid", "step": step, "minutes": round(minutes, 4), "task": task}
            self._metrics.write(place | found)
            text = ", ".join(
                f"{name} {1000.0 * mae:.4g} {MAE_UNITS[name]}"
                for name, mae in found.items()
                if mae is not None
            )
            self._reporter.say(f"step {step}  {minutes:.1f} min  valid {task}, MAE: {text}")

    def _report(self, results: Sequence[Result]) -> None:
        """``results``: of the last validation."""
        self._reporter.say(
            f"{self._run}: {self._state.step} steps in {self._clock.minutes:.1f} min; writing report.html"
        )
        if self._mesh.first:
            with self._ema.applied():
                outline = self._janus.outline()
            write_report(self._run, outline, results)
        self._mesh.barrier()
