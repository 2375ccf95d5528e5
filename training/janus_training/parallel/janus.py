"""Janus: a plain model applied to a mesh of ranks (arXiv:2604.15821), with the gradients of one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from janus_md.model import MatRISMoE, Prediction, predict
from janus_md.model.engine import Engine
from janus_training.config import ParallelConfig
from janus_training.memory import training_bytes
from janus_training.parallel.collectives import all_reduce
from janus_training.parallel.engine import BlockPolicy, BlockwiseDerivatives
from janus_training.parallel.gradients import Buckets, clip_to_norm
from janus_training.parallel.graph import Halo
from janus_training.parallel.ledger import PHASES
from janus_training.parallel.mesh import Group, Mesh
from janus_training.parallel.sharding import Gradients, Restorer, shard
from janus_training.parallel.share import Share


class Janus:
    """A model whose parameters are this rank's shards, and how to predict with it and differentiate its losses.

    Attributes:
        model: parameters that other ranks hold are empty in it.
        everywhere: parameters that each rank holds. sharded: this rank's part of the others.
    """

    def __init__(
        self,
        model: MatRISMoE,
        mesh: Mesh,
        config: ParallelConfig,
        memory: float | None = None,
        engine: Engine | None = None,
    ) -> None:
        """memory: GB of activations, above which blocks are recomputed. engine: what differentiates in a unit of one."""
        self.model, self.mesh = model, mesh
        self._config, self._memory = config, memory
        self._engine = engine
        self._blocks: BlockwiseDerivatives | None = None
        sharded: set[str] = set()
        self._reduction = Gradients(mesh, config.overlap)
        if mesh.unit.size > 1:
            weights = shard(model, mesh, config.shard_parameters, config.shard_experts)
            restorer = Restorer(weights, self._reduction, config.overlap)
            self._blocks = BlockwiseDerivatives(model, weights, restorer, mesh.ledger)
            sharded = {f"blocks.{i}.{name}" for i, w in enumerate(weights) for name in w.sharded}
        named = dict(model.named_parameters())
        self.everywhere = [value for name, value in named.items() if name not in sharded]
        self.sharded = [value for name, value in named.items() if name in sharded]
        self._buckets = Buckets(self.everywhere, mesh.world, config.overlap)

    def predict(
        self, share: Share, forces: bool = True, stress: bool = False, training: bool = False
    ) -> Prediction:
        """Results for a rank's share; of divided graphs, energies and stresses whole, forces of this rank's atoms."""
        graphs = share.batch.graphs
        engine = self._engine
        if self._blocks is not None:
            self._blocks.exchange = None if share.halo is None else share.halo.spread
            self._blocks.policies = self._policies(graphs.neighbours, training)
            engine = self._blocks
        found = predict(
            self.model, graphs, forces=forces, stress=stress, training=training, engine=engine
        )
        return found if share.halo is None else _whole(found, share.halo, self.mesh.unit)

    def backward(self, loss: Tensor) -> None:
        """Gradients of the sum of all ranks' losses, each where its parameter is held."""
        self.mesh.ledger.phase = PHASES[2]
        loss.backward()
        self._reduction.finish()
        self._buckets.finish()
        # Where shards travel together, one that nothing in the batch uses has gradient zero: so it has everywhere.
        for parameter in self.model.blocks.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.mesh.ledger.phase = PHASES[4]

    def clip(self, limit: float) -> float:
        """Scale the gradients to a common norm of at most ``limit``; the norm before."""
        return clip_to_norm(self.everywhere, self.sharded, self.mesh, limit)

    def _policies(self, neighbours: Sequence[Tensor], training: bool) -> list[BlockPolicy]:
        config = self._config
        recompute = config.recompute
        if recompute == "auto":
            needed = training_bytes(self.model, neighbours)
            recompute = self._memory is not None and needed > self._memory * 1e9
        regather = config.regather is True
        return [BlockPolicy(recompute or regather, regather)] * self.model.num_blocks


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
