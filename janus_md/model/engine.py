"""What computes energies and their gradients by edge vectors, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from janus_md.model.matris import MatRISMoE


class Inputs(NamedTuple):
    """Arguments of :meth:`MatRISMoE.forward`; the vectors are leaves that require gradients."""

    species: Tensor
    graph: Tensor
    neighbours: list[Tensor]
    owners: list[Tensor]
    vectors: list[Tensor]
    line_counts: list[int]
    task: Tensor
    charge: Tensor
    spin: Tensor
    composition: Tensor


class Derivatives(NamedTuple):
    """Energies (eV, float64 [N]), final features [N, C], and ∂E/∂r_ij in eV/Å of each table, [n_b, K_b, 3]."""

    rows: Tensor
    features: Tensor
    gradients: list[Tensor]


Engine = Callable[[Inputs], Derivatives]
"""Where torch's gradients are enabled, a loss of all its results can be differentiated by the parameters."""


class PlainDerivatives:
    """The model run operation by operation, everything kept that its derivatives need."""

    def __init__(self, model: MatRISMoE | torch.jit.ScriptModule) -> None:
        self._model = model

    def __call__(self, inputs: Inputs) -> Derivatives:
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            rows, features = self._model(*inputs)
            gradients = torch.autograd.grad(rows.sum(), inputs.vectors, create_graph=training)
        return Derivatives(rows, features, list(gradients))
