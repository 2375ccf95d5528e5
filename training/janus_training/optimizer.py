"""AdamW, Muon or SOAP, with decay on weight matrices only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from janus_training.config import OptimiserConfig
from janus_training.muon import Muon
from janus_training.soap import Soap

# Leaf names of vectors and tables that are not matrices of a linear map, whatever their shape.
NO_MATRICES = ("bias", "table", "frequencies", "radii", "angular")


def build_optimizer(
    model: nn.Module, config: OptimiserConfig, structures_per_batch: float
) -> torch.optim.Optimizer:
    """The one ``config`` names.

    ``structures_per_batch`` (a mean) scales the rate by √batch where ``lr_batch`` is given.
    """
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            table = isinstance(module, nn.Embedding) or name in NO_MATRICES
            flat = parameter.ndim < 2 or min(parameter.shape[-2:]) == 1
            (others if table or flat else matrices).append(parameter)
    peak, decay = peak_rate(config, structures_per_batch), config.weight_decay
    adamw = {"betas": config.betas, "eps": config.eps, "fused": True}
    if config.method == "muon":
        return Muon(matrices, others, lr=peak, weight_decay=decay, **adamw)
    if config.method == "soap":
        return Soap(matrices, others, lr=peak, weight_decay=decay, **adamw)
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=peak, **adamw)


def peak_rate(config: OptimiserConfig, structures_per_batch: float) -> float:
    """The configured rate, times √(batch / lr_batch) where that is asked for."""
    if config.lr_batch is None:
        return config.lr
    return config.lr * math.sqrt(structures_per_batch / config.lr_batch)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
