"""Which elements share routed experts, read from the routers of a model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from janus_md.model import MatRISMoE
from janus_md.model.experts import ElementRouter


@dataclass(frozen=True)
class Sharing:
    """``overlap`` [elements, elements]: Σ_experts min(gate of a, gate of b), mean over the layers; 1 means
    the same experts with the same gates, 0 none in common."""

    elements: list[str]
    overlap: NDArray[np.float64]


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
