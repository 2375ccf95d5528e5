"""SOAP: Adam in the eigenbases of a matrix's gradients (Vyas et al., arXiv:2409.11321, algorithm 3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from janus_training.matrix_optimizer import MatrixOptimizer, gradient_of, used

LONGEST = 2048
"""Sides longer than that keep their own basis: its products would cost more than the step."""

REFRESH = 10
"""Steps between two iterations of the bases."""

SHIFT = 1e-6
"""Added to the products in an iteration, of their mean eigenvalue: where there is no gradient the basis stays."""

TIE = 1e-5
"""Of the mean eigenvalue: by so much the first bases prefer early axes. One gradient leaves many directions out, whose
eigenvectors rounding would choose: runs on different numbers of ranks would part."""


class Soap(MatrixOptimizer):
    """SOAP for matrices, AdamW for everything else.

    The first gradient gives the bases and moves nothing: bases that start as the identity learned more slowly for long
    (docs/experiments.md).
    """

    def __init__(
        self,
        matrices: Iterable[Tensor],
        others: Iterable[Tensor],
        lr: float,
        beta: float = 0.95,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
        **adamw: Any,
    ) -> None:
        """beta: of both moments and of the products whose eigenbases are used. ``weight_decay`` acts on the matrices.

        eps: of the matrices and of the others. adamw: further arguments of :class:`torch.optim.AdamW`.
        """
        defaults = {"lr": lr, "beta": beta, "eps": eps, "weight_decay": weight_decay}
        super().__init__(matrices, others, defaults, eps=eps, **adamw)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            self._update_one(parameter, gradient_of(parameter), group)

    def _update_one(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state.update(_first(gradient, group["beta"]))
            return
        left, right = state.get("left_basis"), state.get("right_basis")
        moved = used(gradient).to(gradient)
        share = (1.0 - group["beta"]) * moved
        # Sum of the weights in the averages, which start at zero.
        weight = state["weight"].lerp_(torch.ones_like(share), share).clamp(min=1e-12)
        momentum = state["momentum"].lerp_(gradient, share)
        variance = state["variance"].lerp_(_turned(gradient, left, right).square(), share)
        size = (variance / weight).sqrt().add_(group["eps"])
        direction = _turned(momentum / weight, left, right).div_(size)
        back = [None if basis is None else basis.mT for basis in (left, right)]
        parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
        parameter.add_(_turned(direction, *back) * moved, alpha=-group["lr"])
        # A checkpoint may have put it elsewhere, where reading it would wait for the device.
        state["step"] = state["step"].cpu() + 1
        for side, product in _products(gradient).items():
            mean = state[f"{side}_product"].lerp_(product, share)
            if state["step"] % REFRESH == 0:
                basis = state[f"{side}_basis"]
                turned = torch.linalg.qr(_scaled(mean) @ basis + SHIFT * basis).Q
                state[f"{side}_basis"] = turned.contiguous()


def _first(gradient: Tensor, beta: float) -> dict[str, Tensor]:
    """Averages of nothing yet, and of each side that is not too long the product and its eigenvectors.

    All lie in memory as a checkpoint gives them back, since the last bits of a product depend on that.
    """
    like = torch.contiguous_format
    state = {
        "step": torch.zeros(()),
        "weight": torch.zeros_like(gradient[..., :1, :1], memory_format=like),
        "momentum": torch.zeros_like(gradient, memory_format=like),
        "variance": torch.zeros_like(gradient, memory_format=like),
    }
    for side, product in _products(gradient).items():
        state[f"{side}_product"] = (1.0 - beta) * product
        tie = torch.linspace(
            TIE, 0.0, product.shape[-1], dtype=product.dtype, device=product.device
        )
        found = torch.linalg.eigh(_scaled(product) + tie.diag()).eigenvectors
        # Largest first, which is the order that iterations tend to.
        state[f"{side}_basis"] = found.flip(-1).contiguous()
    return state


def _products(gradient: Tensor) -> dict[str, Tensor]:
    """G·Gᵀ for the left side and Gᵀ·G for the right one, unless a side is long."""
    rows, columns = gradient.shape[-2:]
    found = {}
    if rows <= LONGEST:
        found["left"] = gradient @ gradient.mT
    if columns <= LONGEST:
        found["right"] = gradient.mT @ gradient
    return found


def _scaled(product: Tensor) -> Tensor:
    """To a mean eigenvalue of one; zero stays."""
    mean = product.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    return product / mean.clamp(min=torch.finfo(product.dtype).tiny)


def _turned(x: Tensor, left: Tensor | None, right: Tensor | None) -> Tensor:
    """leftᵀ·x·right; None stands for the identity."""
    x = x if left is None else left.mT @ x
    return x if right is None else x @ right
