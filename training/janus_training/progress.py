"""How far a run is: everything of a checkpoint that is not a tensor."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from janus_md.errors import UserError
from janus_md.run_folder import LAST, checkpoints_of
from janus_training.sampler import Position

STATE = "training.json"


@dataclass
class Progress:
    """``best``: the lowest score, None before the first; ``weights``: of the labels in it.

    ``ended``: the ``max_minutes`` that ended the run, or 0.
    """

    step: int = 0
    position: Position = field(default_factory=Position)
    minutes: float = 0.0
    reserve: float = 0.0
    best: float | None = None
    weights: dict[str, float] = field(default_factory=dict)
    ended: float = 0.0


def last_state(run: Path) -> Path:
    """The file that says how far the last checkpoint is."""
    return checkpoints_of(run) / LAST / STATE


def load_progress(run: Path) -> Progress | None:
    """How far the last checkpoint is; None where the run has not written any."""
    folder = last_state(run).parent
    return read_progress(folder) if folder.exists() else None


def read_progress(folder: Path) -> Progress:
    """How far the checkpoint in ``folder`` is."""
    file = folder / STATE
    try:
        content = json.loads(file.read_text())
        return Progress(**content | {"position": Position(**content["position"])})
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise UserError(
            f"{file} is missing, damaged or cut off: restore it from a copy or start a new run"
        ) from fault
