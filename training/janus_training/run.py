"""The folder of a run: made new, or taken up again."""

from __future__ import annotations

import os
from pathlib import Path

import ase.io

from janus_md.errors import UserError
from janus_md.io import Frame
from janus_training.config import Config
from janus_training.recipe import load_config, write_config

CONFIG = "config.yaml"
FRAMES = "frames.extxyz"
SAMPLE = 8


def refuse_used(run: Path) -> None:
    """Raise ``UserError`` where ``run`` is a file or a folder that holds anything."""
    if run.is_file():
        raise UserError(f"{run} is a file; choose another output folder")
    if run.exists() and any(run.iterdir()):
        used = (run / CONFIG).exists()
        what = "already holds a run" if used else "exists and is not empty"
        hint = ", or continue the run with --resume" if used else ""
        raise UserError(f"{run} {what}; choose another output folder{hint}")


def beside_others() -> bool:
    """Whether torchrun, Slurm or mpirun started this process as one of several."""
    counts = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
    return any(int(os.environ.get(name, "1")) > 1 for name in counts)


def launched_again(run: Path) -> bool:
    """Whether torchrun started this process anew, after another rank or this one died, in a run that had begun."""
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return attempt > 0 and (run / CONFIG).is_file()


def begin_run(run: Path, config: Config) -> None:
    """Make the folder and write the resolved configuration; refuse one that holds anything."""
    refuse_used(run)
    run.mkdir(parents=True, exist_ok=True)
    scratch = run / f".{CONFIG}.part"
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
