"""The loss of a batch: weighted means over what is labelled.

Energies count per atom and per structure, forces and magnetic moments per atom, stress per structure.
Each mean runs over the labelled members of the batch alone; what has no label contributes nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from janus_md.model import Prediction
from janus_training.batches import LABELS, Targets
from janus_training.config import LossConfig, TermConfig
from janus_training.schedule import weight_at


def weights_at(config: LossConfig, progress: float) -> dict[str, float]:
    """The weight of each term at ``progress`` of the run."""
    return {name: weight_at(getattr(config, name).weight, progress) for name in LABELS}


def penalty(difference: Tensor, term: TermConfig, members: int | None = None) -> Tensor:
    """Mean of |d|, d², Huber's function of d, or (``norm``) of the length of d along its last axis.

    Args:
        difference: one row for each member of the batch that this process holds.
        members: of the whole batch; None where it is all here.
    """
    count = max(1, len(difference) if members is None else members)
    if term.form == "norm":
        # The square root has no derivative at zero; a floor far below any label keeps it finite.
        return (difference.square().sum(-1) + 1e-18).sqrt().sum() / count
    values = count * math.prod(difference.shape[1:])
    if term.form == "l1":
        return difference.abs().sum() / values
    if term.form == "l2":
        return difference.square().sum() / values
    zero = torch.zeros_like(difference)
    total = torch.nn.functional.huber_loss(difference, zero, delta=term.delta, reduction="sum")
    return total / (values * term.delta)


def loss_terms(
    config: LossConfig,
    weights: dict[str, float],
    prediction: Prediction,
    targets: Targets,
    members: dict[str, int] | None = None,
) -> dict[str, Tensor]:
    """Unweighted terms with a weight above zero; scalars, float64.

    ``members``: how many of the whole batch have each label, where this is a share of it: the shares' terms add up.
    """
    differences = {
        "energy": lambda: ((prediction.energy - targets.energy) / targets.sizes)[
            targets.has_energy
        ],
        "forces": lambda: (_known(prediction.forces) - targets.forces)[targets.has_forces],
        "stress": lambda: (_known(prediction.stress) - targets.stress)[targets.has_stress],
        "magmoms": lambda: (_known(prediction.magmoms) - targets.magmoms)[targets.has_magmoms],
    }
    return {
        name: penalty(difference(), getattr(config, name), members[name] if members else None)
        for name, difference in differences.items()
        if weights[name] > 0
    }


def total_loss(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Weighted sum of the terms."""
    return torch.stack([weights[name] * term for name, term in terms.items()]).sum()


def _known(value: Tensor | None) -> Tensor:
    if value is None:
        raise AssertionError("a term of the loss needs a result that was not asked of the model")
    return value
