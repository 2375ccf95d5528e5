"""Muon: momentum made orthogonal, for weight matrices (Jordan et al., kellerjordan.github.io/posts/muon, 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from janus_training.matrix_optimizer import MatrixOptimizer, used

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that takes all singular values to about one."""

STEPS = 5

LIKE_ADAM = 0.2
"""Root mean square of an update per unit of learning rate: what AdamW's updates have, so that both take the same
rates (Liu et al., arXiv:2502.16982, section 2.2)."""


class Muon(MatrixOptimizer):
    """Muon for matrices, AdamW for everything else."""

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        **adamw: Any,
    ) -> None:
        """``weight_decay`` acts on the matrices. ``adamw``: arguments of :class:`torch.optim.AdamW`."""
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(matrices, others, defaults, **adamw)

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1.0 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])  # Nesterov
        size = LIKE_ADAM * max(parameter.shape[-2:]) ** 0.5
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.add_(orthogonal(ahead) * used(gradient), alpha=-group["lr"] * size)


def orthogonal(matrices: Tensor) -> Tensor:
    """About U·Vᵀ of each matrix U·Σ·Vᵀ, by Newton–Schulz iterations; [..., rows, columns]."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
