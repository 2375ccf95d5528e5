"""The whole path, step by step; what a user would type is run as such and shown."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase.io

from janus_md.errors import UserError
from janus_md.folders import make_writable
from janus_md.quickstart import droplet as drop
from janus_md.quickstart.water import METHOD, cluster, free_atoms, plan, sample_all

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much of everything; the defaults take about six minutes on two cores."""

    frames: int = 360
    test_frames: int = 48
    train_minutes: float = 2.5
    molecules: int = 16
    warm_steps: int = 200
    free_steps: int = 800
    ranks: int = 2
    settings: tuple[str, ...] = ()


def run_quickstart(folder: Path, size: Size, say: Say) -> Path:
    """Label, train, evaluate, export, relax, simulate in LAMMPS; returns the report's path.

    ``folder`` is made new: raises ``UserError`` where it holds anything.
    """
    if folder.is_file():
        raise UserError(f"{folder} is a file: choose a folder with -o")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} already exists and is not empty: choose another with -o")
    make_writable(folder)
    shell = _Shell(folder, say)
    say(f"1/7  water clusters labelled with {METHOD}: {size.frames} to learn from")
    make_data(folder / "data", size, say)
    say(f"2/7  training a small MatRIS-MoE for {size.train_minutes:g} minutes")
    settings = ["data.root=data", f"train.max_minutes={size.train_minutes:g}", *size.settings]
    shell.run("train", "quickstart", "-o", "run", "--set", *settings)
    say("3/7  errors on clusters it has not seen")
    shell.run("eval", "run", "data/test.extxyz", "--json", "errors.json")
    say("4/7  one file for LAMMPS and ASE")
    shell.run("export", "run", "-o", "water.janus.pt")
    say(f"5/7  a droplet of {size.molecules} molecules, larger than any it was trained on, relaxed")
    droplet = cluster(size.molecules, seed=5)
    droplet.center(vacuum=10.0)
    ase.io.write(folder / "droplet.extxyz", droplet)
    shell.run(
        "relax", "droplet.extxyz", "-m", "water.janus.pt", "-o", "relaxed.extxyz",
        "--fmax", "0.1", "--steps", "200",
    )  # fmt: skip
    say(f"6/7  molecular dynamics of the droplet in LAMMPS on {size.ranks} ranks")
    relaxed = ase.io.read(folder / "relaxed.extxyz")
    drop.write_input(folder, relaxed, "water.janus.pt", size.warm_steps, size.free_steps)
    shell.run("lammps", "build")
    for ranks, only in ((1, "start"), (size.ranks, "all")):
        shell.run(
            "lammps", "run", "-n", str(ranks), "--", "-in", "in.droplet",
            "-var", "ranks", str(ranks), "-var", "only", only, "-screen", "none",
        )  # fmt: skip
    say("7/7  the report")
    from janus_md.quickstart.report import write_report

    report = write_report(folder, size, shell.commands)
    say(f"done in {shell.minutes:.1f} minutes: open {report}")
    return report


def make_data(folder: Path, size: Size, say: Say) -> None:
    """``train.extxyz``, ``test.extxyz`` (other simulations) and ``isolated-atoms.extxyz``."""
    folder.mkdir()
    jobs = plan(size.frames, first_seed=0)
    held_out = plan(size.test_frames, first_seed=10_000)
    total, done, last = size.frames + size.test_frames, 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if time.monotonic() - last > 10 or done == total:
            last = time.monotonic()
            say(f"     {done}/{total} structures")

    workers = min(len(os.sched_getaffinity(0)), 8)
    frames = sample_all([*jobs, *held_out], workers, advance)
    for name, parts in (("train", frames[: len(jobs)]), ("test", frames[len(jobs) :])):
        ase.io.write(folder / f"{name}.extxyz", [frame for part in parts for frame in part])
    ase.io.write(folder / "isolated-atoms.extxyz", free_atoms())


class _Shell:
    """Runs `janus-md` commands in a folder, showing and remembering each."""

    def __init__(self, folder: Path, say: Say) -> None:
        self.commands: list[str] = []
        self._folder = folder
        self._say = say
        self._begin = time.monotonic()

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self._begin) / 60

    def run(self, *arguments: str) -> None:
        line = "janus-md " + " ".join(arguments)
        self.commands.append(line)
        self._say(f"     $ {line}")
        command = [sys.executable, "-m", "janus_md.cli.main", *arguments]
        # Systems of fifty atoms gain nothing from threads, and lose much on a busy machine.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        code = subprocess.run(command, cwd=self._folder, env=environment, check=False).returncode
        if code != 0:
            raise UserError(
                f"the step '{line}' failed with code {code}: its message is above, that of LAMMPS in log.lammps"
            )
