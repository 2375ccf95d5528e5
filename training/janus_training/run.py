"""The folder of a run: made new, or taken up again."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ase.io

from janus_md.errors import UserError
from janus_md.folders import write_into
from janus_md.io import Frame
from janus_training.config import Config
from janus_training.launcher import names_of_launch, started_again_by
from janus_training.recipe import load_config, write_config

CONFIG, LAUNCH = "config.yaml", "launch.json"
UNFINISHED = f".{CONFIG}.part"
FRAMES = "frames.extxyz"
SAMPLE = 8

FIXED = {"optimiser": "method", "train": "dtype"}
"""Settings that moments and weights of a checkpoint are bound to."""

SPLIT = "sets", "seed", "valid_fraction", "max_force"
"""Of ``data``: what decides which frames are trained on and which are validated on."""

NO_ROOM = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
)  # fmt: skip


def refuse_used(run: Path) -> None:
    """Raise ``UserError`` where ``run`` cannot be made, is a file, or holds more than the trace of a killed start."""
    try:
        if run.is_file():
            raise UserError(f"{run} is a file; choose another output folder")
        _try_to_make(run)
        held = {file.name for file in run.iterdir()} if run.exists() else set()
    except OSError as fault:
        raise _cannot_be_made(run, fault) from fault
    if held - {UNFINISHED, LAUNCH}:
        used = CONFIG in held
        what = "already holds a run" if used else "exists and is not empty"
        hint = ", or continue the run with --resume" if used else ""
        raise UserError(f"{run} {what}; choose another output folder{hint}")


def _try_to_make(run: Path) -> None:
    """Raise what the system says where there can be no such folder, or nothing can be written into it."""
    place = run.absolute()
    while not place.exists():
        place = place.parent
    write_into(place)


def _cannot_be_made(run: Path, fault: OSError) -> UserError:
    reason = fault.strerror or fault
    return UserError(f"{run} cannot be written into ({reason}); choose another output folder")


@contextmanager
def written_to(run: Path) -> Iterator[None]:
    """Make one sentence of a full disk, or another reason for which the system takes no more files."""
    try:
        yield
    except OSError as fault:
        if fault.errno not in NO_ROOM:
            raise
        raise UserError(
            f"a file of {run} could not be written ({fault.strerror}); make room there, then go on with --resume"
        ) from fault


def launched_again(run: Path) -> bool:
    """Whether this process belongs to a further start of the launch that began ``run``, after a rank or a node died."""
    by = [name for name in started_again_by() if name in names_of_launch()]
    if not by or not (run / CONFIG).is_file() or not (run / LAUNCH).is_file():
        return False
    begun = json.loads((run / LAUNCH).read_text())
    return any(begun.get(name) == names_of_launch()[name] for name in by)


def begin_run(run: Path, config: Config) -> None:
    """Make the folder and write the resolved configuration; refuse one that holds anything."""
    refuse_used(run)
    try:
        run.mkdir(parents=True, exist_ok=True)
        if names := names_of_launch():
            (run / LAUNCH).write_text(json.dumps(names) + "\n")
        _write_config(run, config)
    except OSError as fault:
        raise _cannot_be_made(run, fault) from fault


def refuse_other(run: Path, config: Config) -> None:
    """Raise ``UserError`` where the run that this launch began, and is started again for, has another configuration."""
    if run_config(run, []) != config:
        raise UserError(
            f"{run} was begun with another configuration than the recipe has now; "
            "go on with --resume in place of the recipe, or choose another output folder"
        )


def refuse_unfit(run: Path, config: Config) -> None:
    """Raise ``UserError`` where ``run`` cannot go on with ``config``: another model, optimiser, arithmetic or split."""
    before = run_config(run, [])
    for key in {**before.model, **config.model}:
        if before.model.get(key) != config.model.get(key):
            raise UserError(
                f"model.{key} cannot change while {run} goes on; leave that setting out, or start a new run"
            )
    for part, name in FIXED.items():
        old, new = (getattr(getattr(held, part), name) for held in (before, config))
        if old != new:
            raise UserError(
                f"{run} was begun with {part}.{name}={old} and cannot go on with {new}; "
                "leave that setting out, or start a new run"
            )
    if config.start != before.start:
        raise UserError(
            f"{run} has begun, so start cannot change; leave that setting out, or start a new run"
        )
    for key in SPLIT:
        if getattr(config.data, key) != getattr(before.data, key):
            raise UserError(
                f"data.{key} is not what {run} began with, and frames it has trained on could come among those it "
                f"validates on; leave data.{key} as it is or start a new run"
            )


def change_config(run: Path, config: Config, step: int) -> None:
    """Write down what a run goes on with from ``step``; what it had until then, if that differs, stays beside it."""
    if run_config(run, []) == config:
        return
    earlier = run / f"config-until-step-{step}.yaml"
    # Where it exists, no step has been kept of what the run was to go on with.
    if step and not earlier.exists():
        scratch = run / UNFINISHED
        scratch.write_bytes((run / CONFIG).read_bytes())
        scratch.replace(earlier)
    _write_config(run, config)


def _write_config(run: Path, config: Config) -> None:
    scratch = run / UNFINISHED
    write_config(config, scratch)
    scratch.replace(run / CONFIG)


def run_config(run: Path, settings: list[str]) -> Config:
    """The configuration of an existing run, with ``key=value`` settings on top."""
    if run.is_file():
        raise UserError(f"{run} is a file, not the folder of a run; give the folder to resume")
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} holds no run to resume ({CONFIG} is missing); leave --resume out")
    return load_config(run / CONFIG, settings)


def write_sample(run: Path, frames: list[Frame]) -> None:
    """A few real frames: what an export of this run is checked on."""
    step = max(1, len(frames) // SAMPLE)
    ase.io.write(run / FRAMES, [frame.to_atoms() for frame in frames[::step][:SAMPLE]])
