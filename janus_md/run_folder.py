"""Where a training run keeps its checkpoints, and which of them a path to a model means."""

from __future__ import annotations

from pathlib import Path

from janus_md.errors import UserError

DESCRIPTION = "model.json"
"""What a folder has that is a checkpoint."""

LAST, BEST = "last", "best"
"""Links in :func:`checkpoints_of` a run, each to one of them."""


def checkpoints_of(run: Path) -> Path:
    """The folder of all checkpoints of ``run``."""
    return run / "checkpoints"


def checkpoint_folder(path: str | Path) -> Path:
    """The checkpoint itself, or the best (else the last) one of a training run.

    Raises ``UserError`` where the folder is neither.
    """
    path = Path(path)
    root = checkpoints_of(path)
    for folder in (path, root / BEST, root / LAST):
        if (folder / DESCRIPTION).is_file():
            return folder
    if not path.exists():
        raise UserError(f"{path} does not exist: check the name of the run or checkpoint")
    if path.is_file():
        raise UserError(
            f"{path} is a file, not the folder of a run: name the one that 'janus-md train' wrote"
        )
    if root.is_dir():
        raise UserError(
            f"the run {path} has no checkpoint yet: let 'janus-md train' come to its first validation"
        )
    raise UserError(
        f"{path} holds neither a checkpoint ({DESCRIPTION}) nor a run's checkpoints/best:"
        " name the folder that 'janus-md train' wrote"
    )


def holds_model(path: Path) -> bool:
    """Whether ``path`` is a checkpoint or the folder of a run, which may have none yet."""
    return (path / DESCRIPTION).is_file() or checkpoints_of(path).is_dir()
