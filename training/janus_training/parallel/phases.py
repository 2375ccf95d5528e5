"""Where a step stands: the four phases of a training step (arXiv:2604.15821), whatever engine it runs on.

Energies end where the model reads them off the final features, and the last backward pass has come to the energies
when it is back there. A compiled step passes there only while it is traced: its ledger does not tell these apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from janus_md.model import MatRISMoE
from janus_training.parallel.ledger import (
    BACKWARD_ENERGY,
    BACKWARD_FORCES,
    ENERGY,
    FORCES,
    Ledger,
)


def follow(model: MatRISMoE, ledger: Ledger) -> None:
    """From now on the model's steps tell ``ledger`` when the forces and the backward of the energies begin."""

    def passed(before: str, after: str) -> None:
        # Validation and what follows a step are in none of the four.
        if ledger.phase == before:
            ledger.phase = after

    def entered(_: Any, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if ledger.phase != ENERGY:
            return arguments
        atoms, *others = arguments
        return _Noticed.apply(atoms, lambda: passed(BACKWARD_FORCES, BACKWARD_ENERGY)), *others

    head = model.heads["energy"]
    head.register_forward_pre_hook(entered)
    head.register_forward_hook(lambda *_: passed(ENERGY, FORCES))


class _Noticed(torch.autograd.Function):
    """Does nothing but tell when a backward pass that is not differentiated comes by."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, notice: Callable[[], None]) -> Tensor:
        ctx.notice = notice
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        if not torch.is_grad_enabled():
            ctx.notice()
        return g, None
