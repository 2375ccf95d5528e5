"""Who started this process, as far as the environment tells; nothing here needs torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Start:
    """One of ``size`` processes that a launcher started together."""

    by: Literal["torchrun", "mpirun", "srun"]
    size: int


def launcher() -> Start | None:
    """What started this process as one of several; None where nothing did.

    torchrun may itself be started by mpirun or srun, and mpirun by srun: the innermost counts.
    """
    torchrun = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if all(name in os.environ for name in torchrun):
        return Start("torchrun", int(os.environ["WORLD_SIZE"]))
    # Open MPI; Hydra, which starts MPICH and Intel MPI. srun, too, may set PMI_SIZE, hence not by that name.
    for name, count in {
        "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",
        "MPI_LOCALRANKID": "PMI_SIZE",
    }.items():
        if name in os.environ and count in os.environ:
            return _several("mpirun", os.environ[count])
    # Only srun sets the first: a script that sbatch runs, or a shell in an allocation, is one process.
    if "SLURM_LAUNCH_NODE_IPADDR" in os.environ and "SLURM_PROCID" in os.environ:
        tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS", "1")
        return _several("srun", tasks)
    return None


def _several(by: Literal["mpirun", "srun"], size: str) -> Start | None:
    return Start(by, int(size)) if int(size) > 1 else None


def names_of_launch() -> dict[str, str]:
    """What torchrun and Slurm, where they are at work, know this launch by: the same when they start it again.

    A run's id that was not given to torchrun is ``none``; the folder of its logs then tells one launch from another.
    """
    names = {}
    identity, file = (os.environ.get(f"TORCHELASTIC_{n}", "") for n in ("RUN_ID", "ERROR_FILE"))
    if identity == "none":
        logs, attempt, _ = file.rpartition("/attempt_")
        identity = logs if attempt else ""
    if identity:
        names["torchrun"] = identity
    if "SLURM_JOB_ID" in os.environ:
        names["slurm"] = os.environ["SLURM_JOB_ID"]
    return names


def started_again_by() -> list[str]:
    """Which of torchrun, and Slurm with a job put back into its queue, start this work for a second time."""
    counts = {"torchrun": "TORCHELASTIC_RESTART_COUNT", "slurm": "SLURM_RESTART_COUNT"}
    return [by for by, name in counts.items() if int(os.environ.get(name, "0")) > 0]
