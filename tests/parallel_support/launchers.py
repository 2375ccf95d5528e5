"""`janus-md train` in processes of its own, started the way users start it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from training_support import metals

from janus_md.io import write_frames

TRAIN = ["-m", "janus_md.cli.main", "train"]
TIME_LIMIT = 400
"""s; a rank that waits for one that is gone would take for ever."""

LAUNCHERS = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_RANK", "SLURM_", "PMI", "OMPI_", "MPI_")


def write_recipe(folder: Path, **changes: object) -> Path:
    """A recipe of a tiny model with experts on a dozen cells, whose steps do not depend on how many there are."""
    write_frames(folder / "data" / "metals.extxyz", metals(13))
    content: dict[str, object] = {
        "model": {"preset": "tiny", "cutoff": 4.0, "line_cutoff": 3.0},
        "data": {"root": str(folder / "data"), "sets": [{"path": "metals.extxyz", "task": "emt"}]},
        "batch": {"structures": 3},
        "loss": {name: {"weight": 1.0} for name in ("energy", "forces", "stress")},
        "optimiser": {"method": "muon"},
        "schedule": {"warmup": 0.0, "lr_end": 1.0},
        "train": {"steps": 6, "validate_every": 4, "threads": 1},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def with_torchrun(size: int, *options: str) -> list[str]:
    """How ``size`` ranks are started; what python is to run follows."""
    program = [sys.executable, "-m", "torch.distributed.run"]
    return [*program, f"--nproc-per-node={size}", "--monitor-interval=0.1", *options]


def with_mpirun(size: int) -> list[str]:
    """As :func:`with_torchrun`."""
    pytest.importorskip("mpi4py")
    beside = Path(sys.executable).with_name("mpirun")
    mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
    if mpirun is None:
        pytest.skip("there is no mpirun")
    return [mpirun, "-n", str(size), sys.executable]


def done(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The command, once it has ended."""
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=TIME_LIMIT
    )


def started(command: Sequence[str]) -> subprocess.Popen[str]:
    """The command under way, in a process group of its own as in a terminal."""
    return subprocess.Popen(
        command, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def with_srun(size: int, arguments: Sequence[str], restarts: int = 0) -> list[tuple[int, str]]:
    """Exit codes and what is said by the ranks of :func:`srun_started`."""
    ranks = srun_started(size, arguments, restarts)
    said = [rank.communicate(timeout=TIME_LIMIT)[1] for rank in ranks]
    return [(rank.returncode, words) for rank, words in zip(ranks, said, strict=True)]


def srun_started(
    size: int, arguments: Sequence[str], restarts: int = 0
) -> list[subprocess.Popen[str]]:
    """Ranks under way that have srun's variables and python's ``arguments``.

    restarts: how often Slurm has put the job back into its queue.
    """
    job = {
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": str(size), "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1"
    }  # fmt: skip
    if restarts:  # Slurm sets it for such jobs only
        job["SLURM_RESTART_COUNT"] = str(restarts)
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=environment() | job | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def environment() -> dict[str, str]:
    """This process's, without what a launcher may have put there; one thread for each rank."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    paths = [path for path in sys.path if path]
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}


def assert_same_metrics(found: Path, expected: Path, tolerance: float = 1e-4) -> None:
    """All rows of two runs, but for the clock."""
    from janus_training.metrics import read_metrics

    ours, theirs = read_metrics(found), read_metrics(expected)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"minutes"}:
            if isinstance(one[name], float):
                np.testing.assert_allclose(one[name], other[name], rtol=tolerance, err_msg=name)
            else:
                assert one[name] == other[name], name
