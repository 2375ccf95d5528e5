"""The environment in which LAMMPS finds the plugin and its libraries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from janus_md.lammps.build import mpi_file
from janus_md.lammps.plugin_path import plugin_folder


def environment(
    plugin: Path | None = None, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Variables to set, each joined with its present value.

    Args:
        plugin: folder of the plugin; that of the installed packages if None.
        base: present environment; the process's own if None.

    Returns:
        ``LAMMPS_PLUGIN_PATH``, ``LD_LIBRARY_PATH`` (MPI) and ``OMP_NUM_THREADS``: one thread per rank unless
        the environment says otherwise.
    """
    present = os.environ if base is None else base
    return {
        "LAMMPS_PLUGIN_PATH": _prepend(
            str(plugin or plugin_folder()), present, "LAMMPS_PLUGIN_PATH"
        ),
        "LD_LIBRARY_PATH": _prepend(str(mpi_file("libmpi.so").parent), present, "LD_LIBRARY_PATH"),
        "OMP_NUM_THREADS": present.get("OMP_NUM_THREADS") or "1",
    }


def _prepend(folder: str, present: Mapping[str, str], name: str) -> str:
    others = [part for part in present.get(name, "").split(":") if part and part != folder]
    return ":".join([folder, *others])
