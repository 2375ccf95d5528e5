"""Which of a run's checkpoints is the last and which the best: links beside their folders.

A run that was copied may have lost its links, or have folders in their place; :func:`mend_links` puts them right
before the run goes on.
"""

from __future__ import annotations

import errno
import math
import os
import shutil
from pathlib import Path

from janus_md.errors import UserError
from janus_md.run_folder import BEST, LAST, checkpoints_of
from janus_training.progress import read_progress


def step_name(step: int) -> str:
    """Of the folder, which has it only once it is whole."""
    return f"step-{step:08d}"


def scratch_name(step: int) -> str:
    """Of the folder while it is written."""
    return f".{step_name(step)}.part"


def point(root: Path, link: str, name: str) -> None:
    """Make ``link`` lead to the folder ``name``, in one operation."""
    scratch = root / f".{link}.link"
    scratch.unlink(missing_ok=True)
    try:
        scratch.symlink_to(name, target_is_directory=True)
    except OSError as fault:
        if fault.errno in (errno.EPERM, errno.EOPNOTSUPP):
            raise UserError(
                f"{root} is on a file system without symbolic links, which a run needs; choose a folder on another"
            ) from fault
        raise
    scratch.replace(root / link)


def remove_unused(root: Path) -> None:
    """Remove half-written folders and those that no link leads to; no whole one where the last is not known."""
    used = {os.readlink(root / link) for link in (LAST, BEST) if (root / link).is_symlink()}
    whole = _steps(root) if (root / LAST).is_symlink() else []
    for folder in [*root.glob(".step-*.part"), *whole]:
        if folder.name not in used:
            shutil.rmtree(folder, ignore_errors=True)


def mend_links(run: Path) -> list[str]:
    """Put the links of ``run`` right, then remove what none leads to; what had to be done, in words for the user.

    Raises ``UserError`` where a copy has two folders that differ for one step, or links to nothing.
    """
    root = checkpoints_of(run)
    if not root.exists():
        return []
    said = [_linked_again(root, link) for link in (LAST, BEST) if _is_real(root / link)]
    if not _leads_somewhere(root / LAST):
        steps = _steps(root)
        if not steps:
            _refuse_lost(root)
            remove_unused(root)  # killed before the first checkpoint was whole
            return []
        point(root, LAST, steps[-1].name)
        said.append(f"{root / LAST} was missing; {steps[-1].name} is the last checkpoint there")
    best = _best(root)
    if best is not None:
        # It is missing, or the process was killed between the two links.
        point(root, BEST, best.name)
        said.append(f"{root / BEST} was missing or behind; {best.name} is the best checkpoint")
    remove_unused(root)
    return said


def _linked_again(root: Path, link: str) -> str:
    """Make a link of the folder that a copy has in its place."""
    copied = root / link
    progress = read_progress(copied)
    name = step_name(progress.step)
    if not (root / name).exists():
        copied.rename(root / name)
    elif _contents(copied) == _contents(root / name):
        copied.rename(root / scratch_name(progress.step))
    else:
        raise UserError(
            f"{copied} is a folder and not a link, and differs from {root / name}; remove the one that is incomplete"
        )
    point(root, link, name)
    shutil.rmtree(root / scratch_name(progress.step), ignore_errors=True)
    return f"{copied} was a folder; it is a link to {name} again"


def _best(root: Path) -> Path | None:
    """Where the link ought to lead, if not where it does: to the first checkpoint with the lowest score known."""
    last = root / os.readlink(root / LAST)
    lowest = read_progress(last).best
    # Nothing is known after a change of the loss, until the next validation: what was best stays.
    if _leads_somewhere(root / BEST) and (
        lowest is None or _is_same(read_progress(root / BEST).best, lowest)
    ):
        return None
    if lowest is None or math.isnan(lowest):
        return last
    return next((step for step in _steps(root) if read_progress(step).best == lowest), last)


def _is_same(score: float | None, other: float | None) -> bool:
    unknown = [value is None or math.isnan(value) for value in (score, other)]
    return all(unknown) or score == other


def _refuse_lost(root: Path) -> None:
    for link in (LAST, BEST):
        if (root / link).is_symlink():
            lost = os.readlink(root / link)
            raise UserError(
                f"{root / link} leads to {lost}, which is missing; restore it from a copy or start a new run"
            )


def _steps(root: Path) -> list[Path]:
    return sorted(root.glob("step-*"))


def _contents(folder: Path) -> dict[str, int]:
    """Sizes (bytes) of the files in ``folder``."""
    return {file.name: file.stat().st_size for file in folder.iterdir()}


def _is_real(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink()


def _leads_somewhere(link: Path) -> bool:
    return link.is_symlink() and link.exists()
