"""The loss of a batch: weighted means over what is labelled.

Energies count per atom and per structure, forces and magnetic moments per atom, stress per structure.
Each mean runs over the labelled members of the batch alone; what has no label contributes nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from janus_md.io.frames import LABELS
from janus_md.model import Prediction
from janus_training.batches import Targets
from janus_training.config import LossConfig, TermConfig
from janus_training.schedule import weight_at


def weights_at(config: LossConfig, progress: float) -> dict[str, float]:
    """The weight of each term at ``progress`` of the run."""
    return {name: weight_at(getattr(config, name).weight, progress) for name in LABELS}


def penalty(difference: Tensor, labelled: Tensor, term: TermConfig, members: int) -> Tensor:
    """Mean of |d|, d², Huber's function of d, or (``norm``) of the length of d along its last axis.

    Args:
        difference: one row for each structure or atom that this process holds, [n, ...].
        labelled: which of them have a label, bool [n]; the others count for nothing.
        members: how many of the whole batch have one.
    """
    values = _of_each(difference, term)
    width = math.prod(values.shape[1:])
    # Rows are not picked out: a device would be waited for to know how many there are.
    kept = torch.where(labelled.view(-1, *[1] * (values.dim() - 1)), values, 0.0)
    return kept.sum() / (max(1, members) * width)


def _of_each(difference: Tensor, term: TermConfig) -> Tensor:
    """The penalty of each number, or of each row where it is of a length."""
    if term.form == "norm":
        # The square root has no derivative at zero; a floor far below any label keeps it finite.
        return (difference.square().sum(-1) + 1e-18).sqrt()
    if term.form == "l1":
        return difference.abs()
    if term.form == "l2":
        return difference.square()
    zero = torch.zeros_like(difference)
    huber = torch.nn.functional.huber_loss(difference, zero, delta=term.delta, reduction="none")
    return huber / term.delta


def loss_terms(
    config: LossConfig,
    weights: dict[str, float],
    prediction: Prediction,
    targets: Targets,
    members: dict[str, int],
) -> dict[str, Tensor]:
    """Unweighted terms with a weight above zero; scalars, float64.

    ``members``: how many of the whole batch have each label. Where this is a share of it, the shares' terms add up.
    """
    differences = {
        "energy": lambda: (prediction.energy - targets.energy) / targets.sizes,
        "forces": lambda: _known(prediction.forces) - targets.forces,
        "stress": lambda: _known(prediction.stress) - targets.stress,
        "magmoms": lambda: _known(prediction.magmoms) - targets.magmoms,
    }
    return {
        name: penalty(
            difference(), getattr(targets, f"has_{name}"), getattr(config, name), members[name]
        )
        for name, difference in differences.items()
        if weights[name] > 0
    }


def total_loss(
    terms: dict[str, Tensor], weights: dict[str, float], prediction: Prediction
) -> Tensor:
    """Weighted sum of the terms; zero, of the prediction still, where a batch has nothing that now has a weight."""
    weighted = [weights[name] * term for name, term in terms.items()]
    return torch.stack(weighted or [0.0 * prediction.energy.sum()]).sum()


def _known(value: Tensor | None) -> Tensor:
    if value is None:
        raise AssertionError("a term of the loss needs a result that was not asked of the model")
    return value
