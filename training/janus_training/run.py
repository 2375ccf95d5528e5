"""The folder of a run: made new, or taken up again."""

from __future__ import annotations

from pathlib import Path

import ase.io

from janus_md.errors import UserError
from janus_md.io import Frame
from janus_training.config import Config, DataConfig
from janus_training.launcher import started_again
from janus_training.recipe import load_config, write_config

CONFIG = "config.yaml"
UNFINISHED = f".{CONFIG}.part"
FRAMES = "frames.extxyz"
SAMPLE = 8


def refuse_used(run: Path) -> None:
    """Raise ``UserError`` where ``run`` is a file or a folder that holds anything but the trace of a killed start."""
    if run.is_file():
        raise UserError(f"{run} is a file; choose another output folder")
    if run.exists() and any(file.name != UNFINISHED for file in run.iterdir()):
        used = (run / CONFIG).exists()
        what = "already holds a run" if used else "exists and is not empty"
        hint = ", or continue the run with --resume" if used else ""
        raise UserError(f"{run} {what}; choose another output folder{hint}")


def launched_again(run: Path) -> bool:
    """Whether this process belongs to a second start of a run that had begun, after a rank or a node died."""
    return started_again() and (run / CONFIG).is_file()


def begin_run(run: Path, config: Config) -> None:
    """Make the folder and write the resolved configuration; refuse one that holds anything."""
    refuse_used(run)
    run.mkdir(parents=True, exist_ok=True)
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


def refuse_other_split(run: Path, data: DataConfig) -> None:
    """Raise ``UserError`` where ``data`` would put frames that ``run`` has trained on among those it validates on."""
    before = run_config(run, []).data
    for key in ("sets", "seed", "valid_fraction", "max_force"):
        if getattr(data, key) != getattr(before, key):
            raise UserError(
                f"data.{key} is not what {run} began with, and frames it has trained on could come among those it "
                f"validates on; leave data.{key} as it is or start a new run"
            )


def write_sample(run: Path, frames: list[Frame]) -> None:
    """A few real frames: what an export of this run is checked on."""
    step = max(1, len(frames) // SAMPLE)
    ase.io.write(run / FRAMES, [frame.to_atoms() for frame in frames[::step][:SAMPLE]])
