"""Weights on disk: one safetensors file, or several that each hold some tensors or some rows of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from janus_md.errors import UserError

Rows = Mapping[str, tuple[int, int]]
"""First row and the row after the last, of tensors of which a file holds only these."""


def write_part(
    file: Path, tensors: Mapping[str, Tensor], rows: Rows | None = None, place: int = 0, parts: int = 1
) -> Path:  # fmt: skip
    """Write part ``place`` of ``parts``; ``file`` is the name of a single one. Returns the name it got.

    Raises ``UserError`` where the system does not take the file.
    """
    if parts > 1:
        file = file.with_name(_numbered_name(file, place, parts))
    some = {name: list(span) for name, span in (rows or {}).items() if name in tensors}
    try:
        save_file(dict(tensors), file, metadata={"rows": json.dumps(some)})
    except SafetensorError as fault:  # its own, for a full disk as well
        raise UserError(
            f"{file} could not be written ({fault}); make room there, or choose another folder"
        ) from fault
    return file


class Parts:
    """Tensors by name, put together from all parts, whose files it holds open.

    Raises ``UserError`` where a file is missing, damaged or cut off.
    """

    def __init__(self, file: Path) -> None:
        """file: its name if it is a single one."""
        self.file = file
        self._open = ExitStack()
        self._pieces: dict[str, list[tuple[int, Any]]] = {}
        files = [file] if file.is_file() else _numbered(file)
        for found in files:
            try:
                part = self._open.enter_context(safe_open(found, framework="pt"))
                rows = json.loads((part.metadata() or {}).get("rows", "{}"))
            except (SafetensorError, OSError, ValueError):
                raise damaged(found) from None
            for name in part.keys():  # noqa: SIM118 (not a dict)
                self._pieces.setdefault(name, []).append((rows.get(name, [0])[0], part))

    def close(self) -> None:
        """Close the files."""
        self._open.close()

    @property
    def names(self) -> list[str]:
        """Of all tensors."""
        return list(self._pieces)

    def tensor(self, name: str, rows: tuple[int, int] | None = None) -> Tensor:
        """A tensor, or some rows of it. Raises ``KeyError`` where there is none of that name."""
        pieces = sorted(self._pieces[name], key=lambda piece: piece[0])
        # Parts that hold a tensor whole hold the same one.
        starts = dict.fromkeys(begin for begin, _ in pieces)
        chosen = [next(part for begin, part in pieces if begin == start) for start in starts]
        if rows is None:
            found = [part.get_tensor(name) for part in chosen]
            return found[0] if len(found) == 1 else torch.cat(found)
        taken = []
        for start, part in zip(starts, chosen, strict=True):
            piece = part.get_slice(name)
            begin, end = max(rows[0], start), min(rows[1], start + piece.get_shape()[0])
            if begin < end:
                taken.append(piece[begin - start : end - start])
        return torch.cat(taken)

    def all(self) -> dict[str, Tensor]:
        """Every tensor whole."""
        return {name: self.tensor(name) for name in self._pieces}


def is_written(file: Path) -> bool:
    """Whether there is such a file, whole or in parts."""
    return file.is_file() or any(file.parent.glob(f"{file.stem}-*-of-*{file.suffix}"))


def damaged(file: Path) -> UserError:
    """What to say of a file that cannot be read."""
    return UserError(
        f"{file} is damaged or cut off: restore it from a copy, or write it again by training"
    )


def _numbered_name(file: Path, place: int, parts: int) -> str:
    return f"{file.stem}-{place + 1:05d}-of-{parts:05d}{file.suffix}"


def _numbered(file: Path) -> list[Path]:
    """All parts, in order."""
    found = sorted(file.parent.glob(f"{file.stem}-*-of-*{file.suffix}"))
    present = {part.name for part in found}
    count = int(found[0].stem.rpartition("-")[2]) if found else 0
    expected = {_numbered_name(file, place, count) for place in range(count)} or {file.name}
    if missing := sorted(expected - present):
        raise UserError(f"{file.with_name(missing[0])} is missing: restore it from a copy")
    if strays := sorted(present - expected):
        raise UserError(f"{file.with_name(strays[0])} is of another checkpoint: move it away")
    return found
