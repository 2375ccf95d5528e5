"""Janus: a plain model applied to a mesh of ranks (arXiv:2604.15821), with the gradients of one process."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from janus_md.graph import GraphBatch
from janus_md.model import MatRISMoE, Prediction, predict
from janus_md.model.engine import Engine
from janus_md.model.experts import ElementRouter, chosen_ahead
from janus_training.config import ParallelConfig
from janus_training.memory import WithinMemory, training_bytes
from janus_training.parallel.collectives import all_reduce
from janus_training.parallel.engine import BlockPolicy, BlockwiseDerivatives, transfers
from janus_training.parallel.experts import ExpertPlan, imbalance
from janus_training.parallel.gradients import Buckets, clip_to_norm
from janus_training.parallel.graph import Halo
from janus_training.parallel.ledger import BACKWARD_FORCES, UPDATE
from janus_training.parallel.mesh import Group, Mesh
from janus_training.parallel.phases import follow
from janus_training.parallel.sharding import BlockWeights, Gradients, Restorer, shard
from janus_training.parallel.share import Share
from janus_training.parallel.tokens import Tokens


class Janus:
    """A model whose parameters are this rank's shards, and how to predict with it and differentiate its losses.

    Attributes:
        model: parameters that other ranks hold are empty in it.
        everywhere: parameters that each rank holds. sharded: this rank's part of the others.
        rows: first row and the row after the last, of parameters of which this rank holds some rows.
        plans: of the layers whose experts are divided.
    """

    def __init__(
        self,
        model: MatRISMoE,
        mesh: Mesh,
        config: ParallelConfig,
        memory: float | None = None,
    ) -> None:
        """memory: GB of activations above which blocks are recomputed, and graphs divided."""
        self.model, self.mesh = model, mesh
        self._config, self._memory = config, memory
        self.engine: Engine | None = None
        """What differentiates where there is nothing to share; None: operation by operation."""
        if mesh.unit.size == 1 and config.recompute is not False:
            budget = 0.0 if config.recompute is True else memory
            self.engine = None if budget is None else WithinMemory(model, budget)
        self._blocks: BlockwiseDerivatives | None = None
        self.rows: dict[str, tuple[int, int]] = {}
        self.plans: list[ExpertPlan] = []
        self._sharded: list[BlockWeights] = []
        sharded: set[str] = set()
        self._reduction = Gradients(mesh, config.overlap)
        self._whole = _bytes(model.blocks.parameters())
        if mesh.unit.size > 1:
            half = config.compress_experts == "fp16"
            weights = shard(model, mesh, config.shard_parameters, config.shard_experts, half)
            restorer = Restorer(weights, self._reduction, config.overlap)
            self._blocks = BlockwiseDerivatives(model, weights, restorer)
            self._sharded = weights
            for index, block in enumerate(weights):
                sharded.update(f"blocks.{index}.{name}" for name in block.sharded)
                self.plans += block.plans
                self.rows |= {f"blocks.{index}.{name}": span for name, span in block.rows.items()}
        named = dict(model.named_parameters())
        self.everywhere = [value for name, value in named.items() if name not in sharded]
        self.sharded = [value for name, value in named.items() if name in sharded]
        self._buckets = Buckets(self.everywhere, mesh.world, config.overlap)
        follow(model, mesh.ledger)

    def predict(self, share: Share, stress: bool = False) -> Prediction:
        """Results to differentiate; of divided graphs, energies and stresses whole, forces of this rank's atoms."""
        self._prepare(share.tokens, share.halo)
        engine = self._blocks or self.engine
        # Ranks that share weights see tables of the experts they restored, chosen among by plans.
        fetched = chosen_ahead(self.model) if self._blocks is None else nullcontext()
        with fetched:
            found = predict(
                self.model, share.batch.graphs, stress=stress, training=True, engine=engine
            )
        return found if share.halo is None else _whole(found, share.halo, self.mesh.unit)

    def predict_whole(self, graphs: GraphBatch, tokens: Tokens, stress: bool = False) -> Prediction:
        """Results for undivided graphs, without derivatives; ranks that share weights predict together."""
        self._prepare(tokens, None, training=False)
        return predict(self.model, graphs, stress=stress, engine=self._blocks)

    @property
    def device(self) -> torch.device:
        """Of the parameters."""
        return next(self.model.parameters()).device

    def backward(self, loss: Tensor) -> None:
        """Gradients of the sum of all ranks' losses, each where its parameter is held."""
        self.mesh.ledger.phase = BACKWARD_FORCES
        loss.backward()
        self._reduction.finish(self._sharded)
        self._buckets.finish()
        # Where shards travel together, one that nothing in the batch uses has gradient zero: so it has everywhere.
        for parameter in self.model.blocks.parameters():
            if parameter.grad is None and parameter.numel():
                parameter.grad = torch.zeros_like(parameter)
        self.mesh.ledger.phase = UPDATE

    def clip(self, limit: float) -> Tensor:
        """Scale the gradients to a common norm of at most ``limit``; the norm before."""
        return clip_to_norm(self.everywhere, self.sharded, self.mesh, limit)

    def outline(self) -> MatRISMoE:
        """The whole model without memory for its weights, but for the routers' tables, which every rank holds."""
        with torch.device("meta"):
            whole = MatRISMoE(self.model.config)
        for name, module in self.model.named_modules():
            if isinstance(module, ElementRouter):
                counterpart = whole.get_submodule(name)
                counterpart.table = nn.Parameter(module.table.detach().cpu())
        return whole

    def accounts(self, share: Share) -> dict[str, Any]:
        """Since the last call: the ledger of all ranks (seconds, waiting and memory of the worst, bytes of all), and
        of this step the parameters a rank holds (bytes), how evenly work is spread, and the tokens of each expert.
        """
        held = _bytes(self.model.parameters())
        ledgers, parameters = zip(
            *self.mesh.everyone((self.mesh.ledger.close(), held)), strict=True
        )
        tables: dict[str, dict[str, float]] = {}
        for name in ledgers[0]:
            combine = sum if name == "bytes" else max
            keys = {key: None for ledger in ledgers for key in ledger[name]}
            tables[name] = {
                key: combine(ledger[name].get(key, 0.0) for ledger in ledgers) for key in keys
            }
        return tables | {
            "parameters": max(parameters),
            "imbalance": share.imbalance,
            "expert_imbalance": imbalance(self.plans),
            "tokens": [plan.moves.tokens.sum(axis=(0, 1)).tolist() for plan in self.plans],
        }

    def _prepare(self, tokens: Tokens, halo: Halo | None, training: bool = True) -> None:
        """What ranks that share something have to know of a batch before they compute."""
        if self._blocks is None:
            return
        self._blocks.exchange = None if halo is None else halo.spread
        policy = self._policy(tokens)
        self._blocks.policies = [policy] * self.model.num_blocks
        of_elements = tokens.of(self.model.config.atomic_numbers)
        sent = transfers(policy, training)
        for plan in self.plans:
            plan.make(of_elements, sent)

    def too_large(self, sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which graphs with so many atoms, edges and angles, [n, 3], a unit has to divide, [n]."""
        divide = self._config.shard_graphs
        if divide != "auto":
            return np.full(len(sizes), divide)
        if self._memory is None:
            return np.zeros(len(sizes), dtype=bool)
        return self._activations(sizes[:, 1]) > self._memory * 1e9

    def _activations(self, slots: Any) -> Any:
        return training_bytes(self.model, slots)

    def _policy(self, tokens: Tokens) -> BlockPolicy:
        """One for the unit, also where only some ranks are beyond their budgets: they exchange tokens together."""
        config = self._config
        recompute = config.recompute
        if recompute == "auto":
            slots = int(tokens.edges.sum(axis=(1, 2)).max())
            recompute = self._memory is not None and self._activations(slots) > self._memory * 1e9
        regather = config.regather
        if regather == "auto":
            regather = self._memory is not None and self._whole > self._memory * 1e9
        return BlockPolicy(recompute or regather, regather)


def _bytes(parameters: Iterable[Tensor]) -> int:
    return sum(p.numel() * p.element_size() for p in parameters)


def _whole(found: Prediction, halo: Halo, unit: Group) -> Prediction:
    """The prediction with what other ranks know of the divided graphs and of this rank's atoms."""

    def over_parts(values: Tensor) -> Tensor:
        parts, own = values.split([halo.graphs, len(values) - halo.graphs])
        return torch.cat([all_reduce(parts, unit, "graphs"), own])

    return replace(
        found,
        energy=over_parts(found.energy),
        stress=None if found.stress is None else over_parts(found.stress),
        forces=None if found.forces is None else halo.bring_home(found.forces),
        virials=None if found.virials is None else halo.bring_home(found.virials),
    )
