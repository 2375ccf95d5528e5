"""What a command line asks for, checked."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection
from pathlib import Path

from janus_md.errors import UserError, nearest


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
        if not Path(python).is_file():
            raise UserError(f"--peer {text}: there is no interpreter {python!r}")
        peers[package] = python
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


def refuse_no_folder(output: Path | None) -> None:
    """Raise ``UserError`` where a file could not be written at the end for want of its folder."""
    if output is not None and not output.parent.is_dir():
        raise UserError(f"-o {output}: there is no folder {output.parent}; make it first")
