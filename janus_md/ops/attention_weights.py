"""Attention weights that let a key come and go smoothly.

A plain softmax is not smooth at a cutoff: the last key leaves with weight one. Both forms here give a key that sits
at the cutoff the weight zero, whatever the other keys are.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sigmoid_weights(logits: Tensor, envelope: Tensor) -> Tensor:
    """u_s·σ(ℓ_s): every key on its own.

    Args:
        logits: [..., S]. envelope: u of the keys in [0, 1], broadcastable to logits.
    """
    return torch.sigmoid(logits) * envelope


def sink_softmax(logits: Tensor, envelope: Tensor) -> Tensor:
    """u_s·exp(ℓ_s) / (1 + Σ_s' u_s'·exp(ℓ_s')) over the last dimension, with the maximum subtracted.

    The 1 is a sink: without it the last key would leave with weight one.

    Args:
        logits: [..., S]. envelope: u of the keys in [0, 1], broadcastable to logits.
    """
    highest = logits.detach().amax(dim=-1, keepdim=True).clamp(min=0.0)
    weights = envelope * torch.exp(logits - highest)
    return weights / (torch.exp(-highest) + weights.sum(dim=-1, keepdim=True))
