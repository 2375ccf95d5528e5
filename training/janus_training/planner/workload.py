"""The batch that a plan is made for, and which experts it needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from janus_md.model import MatRISMoE
from janus_md.model.experts import ElementRouter, RoutedExperts
from janus_training.beginning import taken_over
from janus_training.config import BatchConfig, Config
from janus_training.data import load_frames
from janus_training.model_section import resolve_model
from janus_training.parallel.balance import predicted_cost
from janus_training.parallel.experts import chosen_experts
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Group, Mesh
from janus_training.parallel.share import Share, Shares
from janus_training.planner.layout import Layout, imagined_mesh
from janus_training.planner.rehearsal import Chosen
from janus_training.planner.traffic import Traffic
from janus_training.prepare import Data, filled_in, new_model, prepare
from janus_training.sampler import RESOURCES, BudgetSampler

LARGEST_MADE = 200_000_000
"""Parameters; of larger models only the routers are drawn, so their choices are like the run's, not the same."""


@dataclass(frozen=True)
class Workload:
    """A step's batch.

    Attributes:
        config: with every field of the model. data: of the run.
        batch: frames of the whole batch, or of one unit where each takes the recipe's own (``per_rank``).
        chosen: experts by element. largest: cost of the epoch's largest batch over this one's.
    """

    config: Config
    data: Data
    batch: NDArray[np.int64]
    chosen: Chosen
    largest: float
    per_rank: bool

    def share(self, mesh: Mesh, janus: Janus) -> Share:
        """What the rank whose mesh this is takes."""
        return self._shares(mesh, janus)(self.batch.tolist())

    def slots(self, mesh: Mesh, janus: Janus) -> NDArray[np.int64]:
        """Edges, padding included, of all ranks that divide the batch."""
        return self._shares(mesh, janus).slots(self.batch.tolist())

    def _shares(self, mesh: Mesh, janus: Janus) -> Shares:
        if self.per_rank:
            unit = mesh.unit
            mesh = Mesh(unit, unit, Group(), mesh.ledger)
        return Shares(self.data.train, mesh, janus.too_large)


def read_data(config: Config, device: torch.device) -> tuple[Config, Data]:
    """The whole configuration and the data that it names, batches to suit ``device``, which need not be there.

    Raises ``UserError`` where either is at fault.
    """
    frames = load_frames(config.data)
    config = filled_in(config, frames)
    return config, prepare(config, frames, device)


def workload(config: Config, data: Data, unit: int | None = None) -> Workload:
    """The batch of median cost in the first epoch.

    unit: where each rank takes a batch as the recipe's, the ranks of a unit; their batch is that many times as large,
        with frames more than once where there are too few.
    """
    sampler, costs_of = data.sampler, data.train.costs
    if unit is not None:
        limits = {
            name: None if limit is None else limit * unit
            for name in RESOURCES
            for limit in [getattr(config.batch, name)]
        }
        budget = BatchConfig(**limits)
        often = np.tile(costs_of, (_copies(costs_of, budget), 1))
        sampler = BudgetSampler(often, budget, config.train.seed)
    batches = [batch % len(costs_of) for batch in sampler.epoch(0)]
    costs = np.array([predicted_cost(costs_of[batch]).sum() for batch in batches])
    middle = int(np.argsort(costs, kind="stable")[len(costs) // 2])
    largest = float(costs.max() / max(costs[middle], 1e-300))
    chosen = routes(config, data)
    return Workload(config, data, batches[middle], chosen, largest, unit is not None)


def _copies(costs: NDArray[np.int64], budget: BatchConfig) -> int:
    """How often to take all frames, of such atoms, edges and angles [n, 3], so that the median batch is a full one."""
    limits = np.array([getattr(budget, name) or np.inf for name in RESOURCES])
    batches = float((np.array([len(costs), *costs.sum(axis=0)]) / limits).max())
    return 1 if batches >= 1.0 else int(np.ceil(2.0 / batches))


def busiest(work: Workload, layout: Layout) -> int:
    """The rank with most edges, padding included; of one unit where all units are alike."""
    config = layout.applied(work.config)
    with torch.device("meta"):
        model = MatRISMoE(resolve_model(config.model, [], []))
    alone = Janus(model, Mesh(), config.parallel, config.train.memory)
    return int(np.argmax(work.slots(imagined_mesh(layout, 0, Traffic()), alone)))


def routes(config: Config, data: Data) -> Chosen:
    """Experts of each element in every layer, those of the run where its model is small enough to be made."""
    with torch.device("meta"):
        model = MatRISMoE(resolve_model(config.model, [], []))
    if sum(p.numel() for p in model.parameters()) <= LARGEST_MADE:
        started = config.start is not None
        return routes_of(taken_over(config) if started else new_model(config, data))
    torch.manual_seed(config.train.seed)
    return {name: chosen_experts(_drawn(layer.router)) for name, layer in _routed(model)}


def routes_of(model: MatRISMoE) -> Chosen:
    """Experts of each element in every layer of a model with weights."""
    return {name: chosen_experts(layer.router) for name, layer in _routed(model)}


def _routed(model: MatRISMoE) -> list[tuple[str, RoutedExperts]]:
    return [(n, m) for n, m in model.named_modules() if isinstance(m, RoutedExperts)]


def _drawn(router: ElementRouter) -> ElementRouter:
    elements, experts = router.table.shape
    return ElementRouter(elements, experts, router.top_k)
