"""Starting LAMMPS under MPI with the plugin."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from janus_md.errors import UserError
from janus_md.lammps.build import build_plugin, mpi_file
from janus_md.lammps.env import environment
from janus_md.lammps.plugin_path import package_folder


def command(arguments: Sequence[str], ranks: int = 1) -> list[str]:
    """The command line that starts the installed LAMMPS on ``ranks`` MPI ranks.

    Raises:
        UserError: LAMMPS or MPICH is not installed, or ``ranks`` is not positive.
    """
    if ranks < 1:
        raise UserError(f"{ranks} ranks cannot run anything: give -n 1 or more")
    lmp = package_folder("lammps") / "lmp"
    return [str(mpi_file("mpirun")), "-n", str(ranks), str(lmp), *arguments]


def run(
    arguments: Sequence[str],
    ranks: int = 1,
    cwd: str | Path | None = None,
    capture: bool = False,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run LAMMPS, building the plugin first where needed.

    Args:
        arguments: LAMMPS's own, e.g. ``["-in", "in.file"]``.
        capture: keep stdout and stderr in the result instead of showing them.
        timeout: seconds after which to stop it with ``subprocess.TimeoutExpired``.

    Raises:
        UserError: something is not installed or the plugin cannot be built.
    """
    line = command(arguments, ranks)
    build_plugin()
    return subprocess.run(
        line,
        cwd=cwd,
        env={**os.environ, **environment()},
        stdin=subprocess.DEVNULL,
        capture_output=capture,
        text=True,
        timeout=timeout,
    )
