"""What a command line asks for, checked."""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from collections.abc import Collection
from pathlib import Path

from janus_md.errors import UserError, nearest
from janus_md.folders import make_writable


def interpreters(texts: list[str], packages: Collection[str]) -> dict[str, str]:
    """Package → interpreter of every ``PACKAGE=PYTHON``.

    Raises:
        UserError: the package is none of ``packages``, or there is no such interpreter.
    """
    peers = {}
    for text in texts:
        package, _, python = text.partition("=")
        if package not in packages:
            raise UserError(f"peer {package!r} is unknown{nearest(package, packages)}")
        found = shutil.which(python)
        if found is None:
            raise UserError(
                f"--peer {text}: there is no interpreter {python!r}; give {package}=PYTHON"
            )
        # Not resolved: the interpreter of an environment is a link, and its place tells which one.
        peers[package] = os.path.abspath(found)
    return peers


def refuse_unknown(methods: list[str], known: Collection[str]) -> None:
    """Raise ``UserError`` for the first method that is not known."""
    for name in methods:
        if name not in known:
            raise UserError(f"method {name!r} is unknown{nearest(name, known)}")


def refuse_not_positive(options: Namespace, *names: str) -> None:
    """Raise ``UserError`` for the first of these options with a number that is not positive; None is no number."""
    for name in names:
        value = getattr(options, name)
        if value is not None and min(value if isinstance(value, list) else [value]) <= 0:
            raise UserError(f"--{name.replace('_', '-')} must be positive")


def make_folder_of(output: Path | None) -> None:
    """Make the folder of a file to be written; ``UserError`` where it cannot be, or where the file is a folder."""
    if output is None:
        return
    make_writable(output.parent)
    if output.is_dir():
        raise UserError(f"-o {output} is a folder; give a file in it")
