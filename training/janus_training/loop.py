"""Training on one process, from top to bottom."""

from __future__ import annotations

import math
import signal
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from janus_md.errors import UserError
from janus_md.model import MatRISMoE, predict
from janus_md.model.engine import Engine
from janus_training.batches import Batch, prefetch
from janus_training.checkpoint import Progress, load_checkpoint, save_checkpoint
from janus_training.config import Config, LossConfig
from janus_training.data import Frames, load_frames
from janus_training.ema import Ema
from janus_training.ending import refuse_finished
from janus_training.evaluate import Result, by_task, errors_of, predict_frames, with_volumes
from janus_training.loss import loss_terms, total_loss, weights_at
from janus_training.memory import WithinMemory
from janus_training.metrics import Metrics, Reporter
from janus_training.optimizer import build_optimizer, peak_rate, set_rate
from janus_training.prepare import Data, filled_in, new_model, prepare
from janus_training.report import write_report
from janus_training.run import begin_run, refuse_used, write_sample
from janus_training.sampler import Position
from janus_training.schedule import Clock, Horizon, lr_factor

REPORT_MINUTES = 0.2
"""Kept at the end of a run by wall time for the last checkpoint and the report."""


def train(config: Config, run: str | Path, resume: bool = False) -> Path:
    """Train as ``config`` says, write everything into the folder ``run``, return it.

    ``resume`` goes on from the run's last checkpoint: to the last bit as if it had not been interrupted,
    where the run ends by steps or epochs (by wall time the learning rate depends on the clock).
    Raises ``UserError`` where data, configuration or folder are at fault, or nothing is left to do.
    """
    run, clock = Path(run), Clock()
    frames = load_frames(config.data)
    config = filled_in(config, frames)
    if not resume:
        refuse_used(run)
    data = prepare(config, frames)
    if resume:
        refuse_finished(run, config.train, len(data.sampler.epoch(0)), clock)
    else:
        begin_run(run, config)  # only now: whatever can be wrong with the input has been looked at
    with _settings(config), Reporter(config.train.log_every) as reporter:
        _describe(reporter, frames)
        _train(config, data, run, clock, reporter)
    return run


def _train(config: Config, data: Data, run: Path, clock: Clock, reporter: Reporter) -> None:
    device = torch.device(config.train.device)
    batches_per_epoch = len(data.sampler.epoch(0))
    structures_per_batch = len(data.train) / batches_per_epoch

    model = new_model(config, data).to(device)
    optimizer = build_optimizer(model, config.optimiser, structures_per_batch)
    peak = peak_rate(config.optimiser, structures_per_batch)
    engine = _engine(config, data, model, reporter)
    ema = Ema(model, config.ema.decay)
    state = load_checkpoint(run, model, optimizer, ema) or Progress()
    clock.before = state.minutes
    horizon = Horizon(config.train, batches_per_epoch, clock)
    horizon.reserve = state.reserve

    results: list[Result] = []

    def validate() -> None:
        """Score the averaged weights; note how long that takes, for the end of the run."""
        begin = clock.minutes
        with ema.applied():
            results[:] = predict_frames(model, data.valid, config.batch)
        score = _write_validation(metrics, reporter, config.loss, state.step, clock, results)
        horizon.reserve = 1.5 * (clock.minutes - begin) + REPORT_MINUTES
        better = score is None or state.best is None or score < state.best
        state.best = score if better else state.best
        save(best=better)

    def save(best: bool) -> None:
        state.minutes, state.reserve = clock.minutes, horizon.reserve
        save_checkpoint(run, model, optimizer, ema, state, best)
        horizon.restart_step()

    metrics = Metrics(run, state.step, config.track)
    write_sample(run, data.frames.valid or data.frames.train)
    if state.step == 0:
        validate()
    every = config.train.validate_every or batches_per_epoch
    saved = clock.minutes

    with closing(metrics), _interruptions() as interrupted:
        with closing(_batches(data, state.position, config.data.prefetch)) as batches:
            while (progress := horizon.progress(state.step)) < 1.0 and not interrupted:
                position, batch = next(batches)
                rate = peak * lr_factor(config.schedule, progress)
                set_rate(optimizer, rate)
                row = take_step(model, optimizer, batch.to(device), config, progress, engine)
                ema.update(state.step)
                state.step, state.position = state.step + 1, position
                horizon.step_done()
                _write_step(metrics, reporter, state, row | {"lr": rate}, progress, horizon, clock)
                # A validation must not eat the stretch at the last learning rate, nor repeat the last one.
                after = horizon.progress(state.step, ahead=horizon.reserve)
                if state.step % every == 0 and after < 1.0 - config.schedule.final:
                    validate()
                    saved = clock.minutes
                elif clock.minutes - saved > config.train.checkpoint_minutes:
                    save(best=False)
                    saved = clock.minutes
        if interrupted:
            save(best=False)
            raise UserError(
                f"{run} was interrupted at step {state.step}; continue it with --resume"
            )
        if state.step == 0:
            raise UserError(
                f"{run} had no time for a single step; "
                "go on with --resume --set train.max_minutes=MORE, or remove it"
            )
        validate()
    reporter.say(f"{run}: {state.step} steps in {clock.minutes:.1f} min; writing report.html")
    with ema.applied():
        write_report(run, model, results)


def take_step(
    model: MatRISMoE,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: Config,
    progress: float,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """One update of the weights; returns the loss, its terms and the gradient's norm before clipping."""
    weights = weights_at(config.loss, progress)
    stress = weights["stress"] > 0 and batch.members["stress"] > 0
    weights["stress"] = weights["stress"] if stress else 0.0
    graphs = with_volumes(batch.graphs) if stress else batch.graphs
    prediction = predict(model, graphs, forces=True, stress=stress, training=True, engine=engine)
    terms = loss_terms(config.loss, weights, prediction, batch.targets, batch.members)
    loss = total_loss(terms, weights)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    limit = math.inf if config.optimiser.clip is None else config.optimiser.clip
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
    if not math.isfinite(float(norm)):
        raise UserError("the loss is no longer finite; start again with a lower optimiser.lr")
    optimizer.step()
    values = {name: float(term.detach()) for name, term in terms.items()}
    return {"loss": float(loss.detach()), "gradient": float(norm)} | values


def _engine(config: Config, data: Data, model: MatRISMoE, reporter: Reporter) -> Engine | None:
    if config.train.memory is not None:
        return WithinMemory(model, config.train.memory)
    if not config.train.compile:
        return None
    # Here, because the compiler takes a second to import.
    from janus_training.staged import Sizes, StagedDerivatives

    reporter.say("compiling the step: minutes for a new architecture, less for one compiled before")
    _, chosen = next(data.sampler.walk(Position()))
    return StagedDerivatives(model, Sizes.of(data.train.batch(chosen).graphs))


def _batches(
    data: Data, start: Position, depth: int
) -> Generator[tuple[Position, Batch], None, None]:
    """Endless (position after the batch, batch), prepared ahead."""
    made = ((after, data.train.batch(chosen)) for after, chosen in data.sampler.walk(start))
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
    metrics: Metrics, reporter: Reporter, loss: LossConfig, step: int, clock: Clock,
    results: list[Result],
) -> float | None:  # fmt: skip
    """One row a task. The score is the sum of MAEs (eV, Å) over tasks with the last weights of the loss."""
    last = weights_at(loss, 1.0)
    score = 0.0
    for task, members in by_task(results).items():
        errors = errors_of("valid", task, members)
        found = {
            "energy": errors["energy_mae"], "forces": errors["force_mae"], "stress": errors["stress_mae"]
        }  # fmt: skip
        score += sum(last[name] * mae / 1000.0 for name, mae in found.items() if mae is not None)
        row = {name: None if mae is None else mae / 1000.0 for name, mae in found.items()}
        metrics.write(
            {"kind": "valid", "step": step, "minutes": round(clock.minutes, 4), "task": task} | row
        )
        text = ", ".join(f"{name} {mae:.4g}" for name, mae in found.items() if mae is not None)
        reporter.say(f"step {step}  {clock.minutes:.1f} min  valid {task}: {text} (MAE; meV, Å)")
    return score if results else None


def _describe(reporter: Reporter, frames: Frames) -> None:
    for file, count in frames.dropped.items():
        reporter.say(f"{file}: {count} frames above max_force left out")
    reporter.say(
        f"{len(frames.train)} frames to train on, {len(frames.valid)} to validate on, "
        f"{len(frames.elements)} elements, tasks: {', '.join(frames.tasks)}"
    )


@contextmanager
def _settings(config: Config) -> Iterator[None]:
    """Threads and deterministic sums, so that a resumed run repeats every bit; undone at the end."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.set_num_threads(config.train.threads or threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill


@contextmanager
def _interruptions() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM append to, so that a step is finished and saved before the end."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: there are no signals to take over
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
