"""Optimisers of matrices: AdamW for the rest, and experts that no atom uses."""

from __future__ import annotations

import pytest
import torch

from janus_md.model import MatRISMoE, preset
from janus_training.config import OptimiserConfig
from janus_training.matrix_optimizer import MatrixOptimizer
from janus_training.muon import Muon
from janus_training.optimizer import build_optimizer
from janus_training.soap import Soap


@pytest.mark.parametrize("method", [Muon, Soap])
def test_experts_without_a_gradient_stay_whatever_their_momentum(
    method: type[MatrixOptimizer],
) -> None:
    experts, vector = torch.nn.Parameter(torch.zeros(2, 4, 5)), torch.nn.Parameter(torch.ones(3))
    optimizer = method([experts], [vector], lr=1e-2)
    for _ in range(2):  # SOAP's first gradient moves nothing
        experts.grad = torch.randn(2, 4, 5)
        optimizer.step()
    before = experts.detach().clone()
    assert before.abs().min() > 0
    experts.grad = torch.stack([torch.zeros(4, 5), torch.randn(4, 5)])
    optimizer.step()
    torch.testing.assert_close(experts.detach()[0], before[0], rtol=0, atol=0)
    assert not torch.equal(experts.detach()[1], before[1])


@pytest.mark.parametrize("method", ["muon", "soap", "adamw"])
def test_each_parameter_has_one_place(method):
    model = MatRISMoE(preset("tiny"))
    optimizer = build_optimizer(model, OptimiserConfig(method=method), 4.0)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(model.parameters()))
    flat = [p for p in optimizer.param_groups[0]["params"] if min(p.shape[-2:]) == 1]
    assert not flat
