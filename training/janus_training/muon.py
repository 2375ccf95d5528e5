"""Muon: momentum made orthogonal, for weight matrices (Jordan et al., kellerjordan.github.io/posts/muon, 2024)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from janus_training.matrix_optimizer import MatrixOptimizer, gradient_of, used

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that takes all singular values to about one."""

STEPS = 5

LARGEST_STACK = 2**22
"""Numbers in matrices that are updated together; larger ones keep a device busy alone, and copies of them take room."""

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

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            alike[parameter.shape].append(parameter)
        for shape, members in alike.items():
            together = max(1, LARGEST_STACK // max(1, shape.numel()))
            for first in range(0, len(members), together):
                self._update_alike(members[first : first + together], group)

    def _update_alike(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Of one shape: the same matrices of several blocks are one stack to the iterations, and so fewer calls."""
        gradients = [gradient_of(parameter) for parameter in parameters]
        momenta = [self._momentum(parameter) for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1.0 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])  # Nesterov
        change = orthogonal(torch.stack(ahead)) * used(torch.stack(gradients))
        size = LIKE_ADAM * max(parameters[0].shape[-2:]) ** 0.5
        torch._foreach_mul_(parameters, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, change.unbind(), alpha=-group["lr"] * size)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        return momentum


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
