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


def started_again() -> bool:
    """Whether torchrun, or Slurm with a job put back into its queue, starts this work for a second time."""
    names = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")
    return any(int(os.environ.get(name, "0")) > 0 for name in names)
