"""The bytes of a step, as ranks really sent them and as a rehearsal without data predicts them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from janus_md.model import MatRISMoE
from janus_md.model.experts import RoutedExperts
from janus_training.config import Config
from janus_training.optimizer import build_optimizer
from janus_training.parallel.experts import chosen_experts
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import make_mesh
from janus_training.planner.layout import Layout
from janus_training.planner.rehearsal import Chosen, Rehearsal, rehearse
from janus_training.step import take_step
from parallel_support.gradients import LOSS, new_model, shares_of, store_of

BATCH = [0, 1, 2, 3]

Case = tuple[Layout, bool, dict[str, Any], dict[str, Any]]
"""Layout, whether graphs are divided, and fields of the parts ``parallel`` and ``model``."""


def config_of(case: Case) -> Config:
    _, _, parallel, fields = case
    content = {
        "data": {"sets": [{"path": "unused"}]},
        "optimiser": {"method": "muon"},
        "train": {"steps": 1},
        "model": new_model(torch.float32, fields).config.model_dump(mode="json"),
        "loss": LOSS.model_dump(),
        "parallel": parallel,
    }
    return Config.model_validate(content)


def sent(cases: Sequence[Case]) -> list[dict[str, float]]:
    """Bytes that this rank sends in a step of each case."""
    found = []
    for case in cases:
        layout, divide, _, fields = case
        config, mesh = layout.applied(config_of(case)), make_mesh(layout.unit)
        model = new_model(torch.float32, fields)
        janus = Janus(model, mesh, config.parallel, config.train.memory)
        optimizer = build_optimizer(model, config.optimiser, 1.0)
        share = shares_of(store_of(fields), mesh, divide)(BATCH)
        mesh.ledger.close()
        take_step(janus, optimizer, share, config, 1.0)
        found.append(mesh.ledger.close()["bytes"])
    return found


def routes(model: MatRISMoE) -> Chosen:
    layers = {n: m for n, m in model.named_modules() if isinstance(m, RoutedExperts)}
    return {name: chosen_experts(layer.router) for name, layer in layers.items()}


def predicted(case: Case, place: int) -> Rehearsal:
    """Of one rank."""
    layout, divide, _, fields = case
    graphs = store_of(fields)
    return rehearse(
        config_of(case),
        layout,
        place,
        lambda mesh, _: shares_of(graphs, mesh, divide)(BATCH),
        routes(new_model(torch.float32, fields)),
    )
