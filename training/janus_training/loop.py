"""Training from data to report, on one process or many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from janus_md.errors import UserError
from janus_md.io.frames import LABELS
from janus_md.model.engine import Engine
from janus_md.out_of_memory import within_memory
from janus_training.beginning import continued_model, shifted_references
from janus_training.checkpoint_links import mend_links
from janus_training.config import Config
from janus_training.data import Frames, load_frames
from janus_training.ending import what_is_finished
from janus_training.freed_memory import keep_freed_memory
from janus_training.metrics import Reporter
from janus_training.parallel.janus import Janus
from janus_training.parallel.launch import joined
from janus_training.parallel.mesh import Mesh, make_mesh
from janus_training.prepare import Data, filled_in, new_model, prepare
from janus_training.profile import StepProfile
from janus_training.progress import load_progress
from janus_training.references import References
from janus_training.run import (
    begin_run,
    launched_again,
    refuse_other,
    refuse_unfit,
    refuse_used,
    written_to,
)
from janus_training.sampler import Position
from janus_training.schedule import Clock
from janus_training.trackers import check_trackers
from janus_training.trainer import Trainer

LESS = (
    "lower batch.structures, batch.atoms or batch.edges, recompute blocks with train.memory=GB, "
    "or share graphs among more ranks with parallel.unit"
)
"""What to ask less of where a batch does not fit."""


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
            batches = len(data.sampler.epoch(0))
            finished = mesh.by_first(lambda: what_is_finished(run, config.train, batches, clock))
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
            _describe(reporter, config, frames, mesh)
            janus = _applied(config, data, mesh, device, shifted)
            if config.train.compile:
                janus.engine = _compiled(data, janus, reporter)
            with within_memory(device, "a batch", LESS):
                Trainer(config, data, run, janus, clock, reporter, recorder).finish()
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


def _describe(reporter: Reporter, config: Config, frames: Frames, mesh: Mesh) -> None:
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
        if labelled and not getattr(config.loss, name).weight:
            reporter.say(f"{labelled} of them have {name} labels that loss.{name}.weight=0 ignores")
    for name, neutral in (("charge", {0.0}), ("spin", {0.0, 1.0})):
        stated = sum(getattr(frame, name) not in neutral for frame in frames.train)
        if stated and not config.model[name]:
            reporter.say(f"{stated} of them state a {name} that model.{name}=false ignores")


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
