"""One training step of one rank without data: the run's own code on tensors that only have shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from janus_md.model import MatRISMoE
from janus_md.model.experts import ElementRouter
from janus_training.config import Config
from janus_training.ema import Ema
from janus_training.model_section import resolve_model
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.ledger import BETWEEN, UPDATE
from janus_training.parallel.mesh import Mesh
from janus_training.parallel.share import Share
from janus_training.planner.layout import Layout, imagined_mesh
from janus_training.planner.memory import Memory, account
from janus_training.planner.meter import Counts, Meter
from janus_training.planner.traffic import Traffic
from janus_training.step import take_step

Chosen = dict[str, NDArray[np.int64]]
"""Experts that each element uses, [elements, k], by the layer's path."""

ShareOf = Callable[[Mesh, Janus], Share]
"""What a rank takes of a batch."""


@dataclass(frozen=True)
class Rehearsal:
    """What a step of one rank takes; tables by phase.

    Attributes:
        flops: of products. touched: bytes that operators read and write. calls: of operators.
        traffic: what it sends. memory: bytes. slots: edges of its share, padding included.
        imbalance: predicted cost of the busiest rank over the mean, less one.
    """

    flops: Counts
    touched: Counts
    calls: Counts
    traffic: Traffic
    memory: Memory
    slots: int
    imbalance: float


def rehearse(
    config: Config, layout: Layout, place: int, share_of: ShareOf, chosen: Chosen
) -> Rehearsal:
    """A step of rank ``place``.

    Args:
        config: of the run, with every field of the model.
        chosen: of all layers with routed experts.
    """
    traffic = Traffic()
    config, mesh = layout.applied(config), imagined_mesh(layout, place, traffic)
    with torch.device("meta"):
        model = MatRISMoE(resolve_model(config.model, [], []))
    model.to(getattr(torch, config.train.dtype))
    janus = Janus(model, mesh, config.parallel, config.train.memory)
    _route(janus, chosen)
    share = _without_data(share_of(mesh, janus))
    optimizer = build_optimizer(model, config.optimiser, 1.0)
    for group in optimizer.param_groups:
        group["fused"] = False  # there is no such kernel for tensors without data
    averages = Ema(model, config.ema.decay)
    ledger = mesh.ledger
    meter = Meter(lambda: UPDATE if ledger.phase == BETWEEN else ledger.phase)
    meter.know([*model.parameters(), *model.buffers(), *averages.shadow.values()])
    with meter:
        take_step(janus, optimizer, share, config, progress=1.0)
    slots = sum(table.numel() for table in share.batch.graphs.neighbours)
    memory = account(model, optimizer, averages, ledger.close()["restored"], meter.peak)
    counts = meter.flops, meter.touched, meter.calls
    return Rehearsal(*counts, traffic, memory, slots, share.imbalance)


def _route(janus: Janus, chosen: Chosen) -> None:
    """Tell the plans what the routers, which have no data, would choose."""
    paths = {id(module): name for name, module in janus.model.named_modules()}

    def known(router: ElementRouter) -> NDArray[np.int64]:
        return chosen[paths[id(router)].removesuffix(".router")]

    for plan in janus.plans:
        plan.chosen = known


def _without_data(share: Share) -> Share:
    """Edge vectors become shapes; what is counted or indexed with stays."""
    graphs = share.batch.graphs
    bare = replace(graphs, vectors=[vectors.to("meta") for vectors in graphs.vectors])
    return replace(share, batch=replace(share.batch, graphs=bare))
