"""Training from top to bottom, on one process or many."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from janus_md.errors import UserError
from janus_md.model.engine import Engine
from janus_training.batches import LABELS, prefetch
from janus_training.beginning import continued_model, shifted_references
from janus_training.checkpoint import Checkpoints
from janus_training.checkpoint_links import mend_links
from janus_training.config import Config, LossConfig
from janus_training.data import Frames, load_frames
from janus_training.ema import Ema
from janus_training.ending import limit_of, what_is_finished
from janus_training.evaluate import Result
from janus_training.freed_memory import keep_freed_memory
from janus_training.interruptions import interruptions
from janus_training.metrics import Metrics, Reporter
from janus_training.optimizer import build_optimizer, peak_rate, set_rate
from janus_training.parallel.evaluate import predict_shared
from janus_training.parallel.janus import Janus
from janus_training.parallel.launch import joined
from janus_training.parallel.mesh import Mesh, make_mesh
from janus_training.parallel.share import Share, Shares
from janus_training.prepare import Data, filled_in, new_model, prepare
from janus_training.profile import StepProfile
from janus_training.progress import Progress, load_progress
from janus_training.references import References
from janus_training.report import write_report
from janus_training.run import (
    begin_run,
    change_config,
    launched_again,
    refuse_other,
    refuse_unfit,
    refuse_used,
    write_sample,
    written_to,
)
from janus_training.sampler import Position
from janus_training.schedule import Clock, Horizon, lr_factor
from janus_training.score import ErrorsByLabel, score, validation_errors
from janus_training.step import take_step
from janus_training.trackers import check_trackers

REPORT_MINUTES = 0.2
"""Kept at the end of a run by wall time for the last checkpoint and the report."""


def train(config: Config, run: str | Path, resume: bool = False, profile: int = 0) -> Path:
    """Train as ``config`` says, write everything into the folder ``run``, return it.

    Joins the other ranks where torchrun, mpirun or Slurm started several.
    ``resume`` goes on from the run's last checkpoint: to the last bit as if it had not been interrupted,
    where the run ends by steps or epochs (by wall time the learning rate depends on the clock).
    ``profile``: so many steps are recorded in ``RUN/profile``.
    Raises ``UserError`` where data, configuration or folder are at fault, or nothing is left to do.
    """
    run, clock = Path(run), Clock()
    with joined(config.train.device) as device:
        mesh = make_mesh(config.parallel.unit, config.parallel.replicate)
        again = mesh.by_first(lambda: _is_started_again(run, config, resume))
        if resume:
            refuse_unfit(run, config)
        frames = load_frames(config.data)
        config = filled_in(config, frames)
        if again:
            refuse_other(run, config)
        data = prepare(config, frames, device, mesh)
        mended: list[str] = []
        if resume or again:
            mended = mesh.by_first(lambda: _mended(run))
            finished = what_is_finished(run, config.train, len(data.sampler.epoch(0)), clock)
            if finished and again:
                return run  # a rank died after the last thing there was to do
            if finished:
                raise UserError(finished)
            mesh.barrier()  # all have looked at the folder
        shifted = None
        if config.start is not None and mesh.by_first(lambda: load_progress(run)) is None:
            shifted = mesh.by_first(lambda: shifted_references(config, data.train))
        if not (resume or again):
            # Only now: whatever can be wrong with the input has been looked at.
            mesh.by_first(lambda: begin_run(run, config))
        with (
            written_to(run),
            _settings(config),
            Reporter(config.train.log_every, mesh.first) as reporter,
            StepProfile(run, profile, mesh) as recorder,
        ):
            for words in mended:
                reporter.say(words)
            if shifted is not None and config.start is not None:
                reporter.say(f"beginning with the weights of {config.start.run}")
            _describe(reporter, config.loss, frames, mesh)
            _train(config, data, run, clock, reporter, mesh, device, recorder, shifted)
            if missed := recorder.missed():
                reporter.say(missed)
    return run


def _mended(run: Path) -> list[str]:
    with written_to(run):
        return mend_links(run)


def _is_started_again(run: Path, config: Config, resume: bool) -> bool:
    """Whether this launch has begun ``run`` before. Looks, ahead of all work, for what a new run cannot do without."""
    check_trackers(config.track)
    again = not resume and launched_again(run)
    if not (resume or again):
        refuse_used(run)
    return again


def _train(
    config: Config, data: Data, run: Path, clock: Clock, reporter: Reporter, mesh: Mesh,
    device: torch.device, recorder: StepProfile, shifted: References | None,
) -> None:  # fmt: skip
    batches_per_epoch = len(data.sampler.epoch(0))
    structures_per_batch = len(data.train) / batches_per_epoch

    janus = _applied(config, data, mesh, device, shifted)
    shares = Shares(data.train, mesh, janus.too_large)
    if config.train.compile:
        janus.engine = _compiled(data, janus, reporter)
    optimizer = build_optimizer(janus.model, config.optimiser, structures_per_batch)
    peak = peak_rate(config.optimiser, structures_per_batch)
    ema = Ema(janus.model, config.ema.decay)
    behind = config.train.checkpoint_behind
    checkpoints = Checkpoints(run, janus, optimizer, ema, behind)
    loaded = checkpoints.load()
    if loaded is not None:
        reporter.say(f"{run}: going on from the checkpoint of step {loaded.step}")
    state = loaded or Progress()
    if mesh.first:
        change_config(run, config, state.step)
    clock.before = state.minutes
    horizon = Horizon(config.train, batches_per_epoch, clock)
    horizon.reserve = state.reserve

    results: list[Result] = []

    def validate() -> None:
        """Score the averaged weights; note how long that takes, for the end of the run."""
        begin = clock.minutes
        with ema.applied():
            results[:] = predict_shared(janus, data.valid, config.batch)
        errors = validation_errors(results)
        _write_validation(metrics, reporter, errors, state.step, clock)
        horizon.reserve = 1.5 * (clock.minutes - begin) + REPORT_MINUTES
        found = score(errors, config.loss)
        if found is None and state.step == 0:
            reporter.say(
                "no frame to validate on has a label with a weight: checkpoints/best is the last"
            )
        unknown = state.best is None or math.isnan(state.best)
        better = found is None or unknown or found < state.best
        state.best = found if better else state.best
        save(best=better)

    def save(best: bool) -> None:
        state.minutes, state.reserve = clock.minutes, horizon.reserve
        checkpoints.save(state, best)
        horizon.restart_step()

    metrics = Metrics(run, state.step, config.track, writes=mesh.first)
    if mesh.first:
        write_sample(run, data.frames.valid or data.frames.train)
    every = config.train.validate_every
    saved, stopped = clock.minutes, False
    mesh.ledger.watches_memory = mesh.world.size > 1 or recorder.wanted

    with closing(metrics), checkpoints, interruptions() as interrupted:
        if state.step == 0:
            validate()
        with closing(_batches(data, shares, state.position, config.data.prefetch)) as batches:
            # One clock, that of the first rank, decides for all.
            while (progress := mesh.agreed(horizon.progress(state.step, state.position))[0]) < 1.0:
                stopped = mesh.any(bool(interrupted))
                if stopped:
                    break
                position, share = next(batches)
                rate = peak * lr_factor(config.schedule, progress)
                set_rate(optimizer, rate)
                recorder.begin_step()
                row = take_step(janus, optimizer, share.to(device), config, progress)
                ema.update(state.step)
                state.step, state.position = state.step + 1, position
                horizon.step_done()
                due = mesh.world.size > 1 and state.step % config.train.log_every == 0
                if due or recorder.records:
                    row["ranks"] = janus.accounts(share)
                recorder.end_step(row.get("ranks"))
                _write_step(metrics, reporter, state, row | {"lr": rate}, progress, horizon, clock)
                # A validation must not eat the stretch at the last learning rate, nor repeat the last one.
                after, unsaved = mesh.agreed(
                    horizon.progress(state.step, state.position, horizon.reserve),
                    clock.minutes - saved,
                )
                at_place = state.step % every == 0 if every else position.batch == 0
                if at_place and after < 1.0 - config.schedule.final:
                    validate()
                    saved = clock.minutes
                elif unsaved > config.train.checkpoint_minutes:
                    save(best=False)
                    saved = clock.minutes
        if stopped:
            save(best=False)
            checkpoints.wait()
            raise UserError(
                f"{run} was interrupted at step {state.step}; continue it with --resume"
            )
        if state.step == 0:
            raise UserError(
                f"{run} had no time for a single step, as the last validation and the report are given "
                f"{horizon.reserve:.1f} minutes; go on with --resume --set train.max_minutes=MORE, or remove it"
            )
        if limit_of(config.train, state.step, state.position.epoch) == "train.max_minutes":
            state.ended = config.train.max_minutes or 0.0
        validate()
        checkpoints.wait()
    reporter.say(f"{run}: {state.step} steps in {clock.minutes:.1f} min; writing report.html")
    if mesh.first:
        with ema.applied():
            outline = janus.outline()
        write_report(run, outline, results)
    mesh.barrier()


def _applied(
    config: Config, data: Data, mesh: Mesh, device: torch.device, shifted: References | None
) -> Janus:
    """The model of the run on this mesh, that of ``config.start`` where there are ``shifted`` references for it.

    Ranks of a node make it in turn: whole, it may fill the memory they share.
    """
    found = []
    for own in mesh.turns() if mesh.unit.size > 1 else [True]:
        if own:
            model = new_model(config, data) if shifted is None else continued_model(config, shifted)
            found.append(Janus(model, mesh, config.parallel, config.train.memory))
    (janus,) = found
    janus.model.to(device)
    return janus


def _compiled(data: Data, janus: Janus, reporter: Reporter) -> Engine:
    # Here, because the compiler takes a second to import.
    from janus_training.staged import Sizes, StagedDerivatives

    reporter.say("compiling the step: minutes for a new architecture, less for one compiled before")
    # Of the whole batch: a rank's share of it may have no atoms, and so no rows to tell the layout by.
    _, chosen = next(data.sampler.walk(Position()))
    return StagedDerivatives(janus.model, Sizes.of(data.train.batch(chosen).graphs))


def _batches(
    data: Data, shares: Shares, start: Position, depth: int
) -> Generator[tuple[Position, Share], None, None]:
    """Endless (position after the batch, this rank's share of it), prepared ahead."""
    made = ((after, shares(chosen)) for after, chosen in data.sampler.walk(start))
    return prefetch(made, depth)


def _write_step(
    metrics: Metrics, reporter: Reporter, state: Progress, row: dict[str, Any],
    progress: float, horizon: Horizon, clock: Clock,
) -> None:  # fmt: skip
    place = {"kind": "train", "step": state.step, "epoch": state.position.epoch}
    metrics.write(place | {"minutes": round(clock.minutes, 4)} | row)
    message = "  ".join(
        f"{name} {row[name]:.4g}" for name in ("loss", "energy", "forces") if name in row
    )
    reporter.step(state.step, progress, horizon.minutes_left(progress), message)


def _write_validation(
    metrics: Metrics, reporter: Reporter, errors: dict[str, ErrorsByLabel], step: int, clock: Clock
) -> None:
    """One row a task."""
    for task, found in errors.items():
        place = {"kind": "valid", "step": step, "minutes": round(clock.minutes, 4), "task": task}
        metrics.write(place | found)
        text = ", ".join(
            f"{name} {1000.0 * mae:.4g}" for name, mae in found.items() if mae is not None
        )
        reporter.say(
            f"step {step}  {clock.minutes:.1f} min  valid {task}: {text} (MAE; meV, Å, mμ_B)"
        )


def _describe(reporter: Reporter, loss: LossConfig, frames: Frames, mesh: Mesh) -> None:
    if mesh.world.size > 1:
        reporter.say(f"{mesh.world.size} ranks: {mesh.replicas.size} x units of {mesh.unit.size}")
    for file, count in frames.dropped.items():
        reporter.say(f"{file}: {count} frames above max_force left out")
    reporter.say(
        f"{len(frames.train)} frames to train on, {len(frames.valid)} to validate on, "
        f"{len(frames.elements)} elements, tasks: {', '.join(frames.tasks)}"
    )
    for name in LABELS:
        labelled = sum(getattr(frame, name) is not None for frame in frames.train)
        if labelled and not getattr(loss, name).weight:
            reporter.say(f"{labelled} of them have {name} labels that loss.{name}.weight=0 ignores")


@contextmanager
def _settings(config: Config) -> Iterator[None]:
    """Threads and deterministic sums, so that a resumed run repeats every bit; undone at the end.

    Freed memory is kept from here on.
    """
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(config.train.threads or threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    keep_freed_memory()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill
