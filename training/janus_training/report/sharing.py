"""Which elements share routed experts, read from the routers of a model, and whether those of a group do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.typing import NDArray

from janus_md.model import MatRISMoE
from janus_md.model.experts import ElementRouter

NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)
"""Atomic numbers that end the periods."""

DRAWS = 2000


@dataclass(frozen=True)
class Sharing:
    """``overlap`` [elements, elements]: Σ_experts min(gate of a, gate of b), mean over the layers; 1 means
    the same experts with the same gates, 0 none in common."""

    elements: list[str]
    overlap: NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Overlap of an element with the others of its group, mean over elements: as it is, and where the same groups
    are dealt out at random (``random`` ± ``spread``, one standard deviation).
    """

    same: float
    random: float
    spread: float


def group_of(element: str) -> int:
    """Group of the periodic table, 1 to 18; lanthanides and actinides stand in the third."""
    number = atomic_numbers[element]
    end = next(noble for noble in NOBLE if noble >= number)
    place = number - NOBLE[NOBLE.index(end) - 1]
    return place if place <= 2 and number != 2 else max(3, 18 - (end - number))


def group_agreement(sharing: Sharing) -> Agreement | None:
    """Whether routing has found the periodic table; None where no two elements are of one group, or all are."""
    groups = np.array([group_of(element) for element in sharing.elements])
    own = _with_own_group(sharing.overlap, groups)
    if own is None or len(set(groups)) == 1:
        return None
    generator = np.random.default_rng(0)
    drawn = [_with_own_group(sharing.overlap, generator.permutation(groups)) for _ in range(DRAWS)]
    return Agreement(own, float(np.mean(drawn)), float(np.std(drawn)))


def _with_own_group(overlap: NDArray[np.float64], groups: NDArray[np.int64]) -> float | None:
    """Mean over elements that have others of their group, of their mean overlap with those."""
    others = (groups[:, None] == groups[None, :]) & ~np.eye(len(groups), dtype=bool)
    counts = others.sum(axis=1)
    found = (overlap * others).sum(axis=1)[counts > 0] / counts[counts > 0]
    return float(found.mean()) if len(found) else None


@torch.no_grad()
def expert_sharing(model: MatRISMoE) -> Sharing | None:
    """None for a model without routed experts."""
    routers = [module for module in model.modules() if isinstance(module, ElementRouter)]
    if not routers:
        return None
    elements = model.config.elements
    total = np.zeros((len(elements), len(elements)))
    for router in routers:
        chosen, gates = router()
        dense = torch.zeros(router.table.shape, dtype=gates.dtype, device=gates.device)
        share = dense.scatter(1, chosen, gates).double().cpu().numpy()
        total += np.minimum(share[:, None], share[None]).sum(axis=-1)
    return Sharing(list(elements), total / len(routers))
