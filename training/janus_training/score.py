"""What a validation comes to: errors of each task, and one number to tell the best checkpoint by."""

from __future__ import annotations

from collections.abc import Sequence

from janus_training.config import LossConfig
from janus_training.evaluate import Result, by_task, errors_of
from janus_training.loss import weights_at

COLUMNS = {
    "energy": "energy_mae", "forces": "force_mae", "stress": "stress_mae", "magmoms": "magmom_mae",
}  # fmt: skip

ErrorsByLabel = dict[str, float | None]


def validation_errors(results: Sequence[Result]) -> dict[str, ErrorsByLabel]:
    """Mean absolute errors of each task, in eV per atom, eV/Å, eV/Å³ and μ_B; None where nothing is labelled."""
    found = {}
    for task, members in by_task(results).items():
        errors = dict(errors_of("valid", task, members))
        found[task] = {
            name: None if errors[column] is None else float(errors[column]) / 1000.0
            for name, column in COLUMNS.items()
        }
    return found


def score(errors: dict[str, ErrorsByLabel], loss: LossConfig) -> float | None:
    """Sum of the tasks' errors, weighed as the loss is at the end; None where nothing with a weight has a label."""
    last = weights_at(loss, 1.0)
    weighed = [
        last[name] * error
        for of_task in errors.values()
        for name, error in of_task.items()
        if error is not None and last[name] > 0
    ]
    return sum(weighed) if weighed else None
