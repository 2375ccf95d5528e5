"""Muon: momentum made orthogonal, for weight matrices (Jordan et al., kellerjordan.github.io/posts/muon, 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that takes all singular values to about one."""

STEPS = 5

LIKE_ADAM = 0.2
"""Root mean square of an update per unit of learning rate: what AdamW's updates have, so that both take the same
rates (Liu et al., arXiv:2502.16982, section 2.2)."""


class Muon(torch.optim.Optimizer):
    """Muon for matrices, AdamW for everything else, with one learning rate and one state.

    Leading dimensions of a matrix parameter are a stack of matrices (experts), each made orthogonal on its own.
    """

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
        super().__init__([{"params": list(matrices)}], defaults)
        self._others = torch.optim.AdamW(list(others), lr=lr, weight_decay=0.0, **adamw)
        self._others.state = self.state
        self.param_groups.extend(self._others.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        group = self.param_groups[0]
        for parameter in group["params"]:
            if parameter.grad is not None:
                self._step(parameter, parameter.grad, group)
        self._others.step()

    def _step(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1.0 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])  # Nesterov
        size = LIKE_ADAM * max(parameter.shape[-2:]) ** 0.5
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        # An expert that no atom of the batch uses stays: what is left of its momentum would become a whole step.
        used = (gradient != 0).any(-1).any(-1)[..., None, None]
        parameter.add_(orthogonal(ahead) * used, alpha=-group["lr"] * size)


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
