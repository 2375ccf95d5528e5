"""AdamW with decay on weight matrices only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from janus_training.config import OptimiserConfig

# Leaf names of vectors and tables that are not matrices of a linear map, whatever their shape.
UNDECAYED = ("bias", "table", "frequencies", "radii")


def build_optimizer(
    model: nn.Module, config: OptimiserConfig, structures_per_batch: float
) -> torch.optim.AdamW:
    """AdamW; ``structures_per_batch`` (a mean) scales the rate by √batch where ``lr_batch`` is given."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            exempt = name in UNDECAYED or parameter.ndim < 2 or isinstance(module, nn.Embedding)
            (free if exempt else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    peak = peak_rate(config, structures_per_batch)
    return torch.optim.AdamW(groups, lr=peak, betas=config.betas, eps=config.eps, fused=True)


def peak_rate(config: OptimiserConfig, structures_per_batch: float) -> float:
    """The configured rate, times √(batch / lr_batch) where that is asked for."""
    if config.lr_batch is None:
        return config.lr
    return config.lr * math.sqrt(structures_per_batch / config.lr_batch)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
