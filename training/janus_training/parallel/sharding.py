"""Parameters that live as shards: who holds what, and how a block gets its whole weights back.

A weight matrix lives whole on one rank of the unit (so that Muon and SOAP, which act on whole matrices, need no other),
a stack of experts is divided by expert, and what is outside the blocks, small, lives on every rank. A block's weights
are restored when it needs them and let go afterwards; their gradients leave for their owners while backward goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from janus_md.model import MatRISMoE
from janus_md.model.experts import ElementRouter, RoutedExperts
from janus_training.parallel.collectives import (
    Pending,
    start_all_gather,
    start_all_reduce,
    start_reduce_scatter,
)
from janus_training.parallel.experts import ExpertPlan, Turn
from janus_training.parallel.mesh import Mesh

Named = dict[str, Tensor]


class Source(Protocol):
    """Some parameters of one block, restored by one exchange and reduced by another."""

    what: str

    def local(self, held: Named) -> Tensor:
        """This rank's part of them as one tensor."""

    def start(self, local: Tensor) -> Pending:
        """Begin to restore the whole."""

    def unpack(self, whole: Tensor, held: Named) -> Named:
        """The parameters by name as the block is to see them; ``held``: what this rank has of all."""

    def start_back(self, gradient: Tensor) -> Pending:
        """Begin to sum the gradients of the whole, each part on the rank that holds it."""

    def owned(self, gradient: Tensor) -> Named:
        """The reduced gradient by name, of this rank's part."""


@dataclass(frozen=True)
class WholeMatrices:
    """Parameters that each live on one rank. ``entries``: name, shape and owner, in order of owners."""

    entries: Sequence[tuple[str, torch.Size, int]]
    mesh: Mesh
    what: str = "parameters"

    @property
    def sizes(self) -> list[int]:
        """Floats on each rank."""
        sums = [0] * self.mesh.unit.size
        for _, shape, owner in self.entries:
            sums[owner] += shape.numel()
        return sums

    def local(self, held: Named) -> Tensor:
        # The empty ones of other ranks belong to it: they tie a rank that holds nothing to the graph.
        return torch.cat([held[name].flatten() for name, _, _ in self.entries])

    def start(self, local: Tensor) -> Pending:
        return start_all_gather(local, self.sizes, self.mesh.unit, self.what)

    def unpack(self, whole: Tensor, held: Named) -> Named:
        parts = whole.split([shape.numel() for _, shape, _ in self.entries])
        named = zip(self.entries, parts, strict=True)
        return {name: part.view(shape) for (name, shape, _), part in named}

    def start_back(self, gradient: Tensor) -> Pending:
        return start_reduce_scatter(gradient, self.sizes, self.mesh.unit, self.what)

    def owned(self, gradient: Tensor) -> Named:
        mine = [entry for entry in self.entries if entry[2] == self.mesh.unit.place]
        parts = gradient.split([shape.numel() for _, shape, _ in mine])
        return {name: part.view(shape) for (name, shape, _), part in zip(mine, parts, strict=True)}


class BlockWeights:
    """The parameters of one block: ``held`` by this rank, those that are ``sharded`` restored through ``sources``.

    Attributes:
        plans: of the layers of experts that are divided. turn: theirs.
        rows: first row and the row after the last, of stacks of which this rank holds some rows.
    """

    def __init__(self, block: nn.Module) -> None:
        self._block = block
        self.turn = Turn()
        self.sources: list[Source] = []
        self.plans: list[ExpertPlan] = []
        self.sharded: set[str] = set()
        self.rows: dict[str, tuple[int, int]] = {}

    def add_experts(self, plan: ExpertPlan) -> None:
        """Keep this rank's part of a layer of experts."""
        self.plans.append(plan)
        for source in plan.sources:
            self.sources.append(source)
            self.sharded.add(source.name)
            self.rows[source.name] = plan.span
            begin, end = plan.span
            hold(self._block, source.name, self._block.get_parameter(source.name)[begin:end])

    @property
    def held(self) -> Named:
        """This rank's part of every parameter of the block, by name."""
        return dict(self._block.named_parameters())

    def start(self, held: Named) -> list[Pending]:
        """Begin to restore."""
        return [source.start(source.local(held)) for source in self.sources]

    def restore(self, held: Named, pending: list[Pending], gradients: Gradients) -> Named:
        """All parameters whole; ``pending``: what :meth:`start` returned."""
        whole = dict(held)
        for source, begun in zip(self.sources, pending, strict=True):
            full = _Restored.apply(source.local(held), begun, source, gradients)
            whole.update(source.unpack(full, held))
        return whole


class _Restored(torch.autograd.Function):
    """Whole parameters of a source; their gradient goes to ``gradients``, not back into the graph."""

    @staticmethod
    def forward(
        ctx: Any,
        local: Tensor,
        pending: Pending,
        source: Source,
        gradients: Gradients,
    ) -> Tensor:
        ctx.source, ctx.gradients = source, gradients
        whole = pending.wait()
        if pending.works:
            pending.group.ledger.restored(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:
        # A gradient that is handed over outside the graph has no derivative of its own.
        assert not torch.is_grad_enabled(), "parameters have no part in forces"
        ctx.gradients.add(ctx.source, gradient)
        return None, None, None, None


class Gradients:
    """Gradients of sharded parameters on their way to the ranks that hold them, and from there to the replicas.

    At most ``IN_FLIGHT`` are under way at once, so that whole gradients do not pile up.
    """

    IN_FLIGHT = 4

    def __init__(self, mesh: Mesh, overlap: bool) -> None:
        self._mesh = mesh
        self._limit = self.IN_FLIGHT if overlap else 0
        self._flying: deque[tuple[Source, Pending]] = deque()
        self._sums: dict[int, Tensor] = {}
        """By the identity of the source."""

    def add(self, source: Source, gradient: Tensor) -> None:
        """One more contribution to the gradient of a source."""
        self._flying.append((source, source.start_back(gradient)))
        while len(self._flying) > self._limit:
            self._land()

    def finish(self, blocks: Sequence[BlockWeights]) -> None:
        """Wait for everything; the parameters of ``blocks`` then have the gradients of the whole batch."""
        while self._flying:
            self._land()
        totals = []
        for weights in blocks:
            held = weights.held
            for source in weights.sources:
                # Units differ in what their batches use and when: replicas meet in the order of the sources.
                total = self._sums.pop(id(source), None)
                if total is None:
                    total = torch.zeros_like(source.local(held))
                totals.append((held, source, total))
        replicas = self._mesh.replicas
        if replicas.size > 1:
            begun = [start_all_reduce(total, replicas, "gradients") for *_, total in totals]
            for pending in begun:
                pending.wait()
        for held, source, total in totals:
            for name, gradient in source.owned(total).items():
                held[name].grad = gradient

    def _land(self) -> None:
        source, pending = self._flying.popleft()
        arrived, key = pending.wait(), id(source)
        if key in self._sums:
            self._sums[key].add_(arrived)
        else:
            self._sums[key] = arrived


class Restorer:
    """Restores blocks in an order known beforehand, the next one already under way while one is used."""

    def __init__(self, blocks: Sequence[BlockWeights], gradients: Gradients, overlap: bool) -> None:
        self._blocks = blocks
        self._gradients = gradients
        self._overlap = overlap
        self._order: deque[int] = deque()
        self._begun: dict[int, list[Pending]] = {}

    def begin(self, order: Sequence[int]) -> None:
        """The blocks a step is going to ask for, in order."""
        self._order = deque(order)
        self._begun.clear()
        self._prepare()

    def restore(self, index: int, held: Named) -> Named:
        """All parameters of block ``index``, whole."""
        block = self._blocks[index]
        pending = self._begun.pop(index, None)
        if pending is None:
            pending = block.start(held)
        if self._order and self._order[0] == index:
            self._order.popleft()
        self._prepare()
        return block.restore(held, pending, self._gradients)

    def _prepare(self) -> None:
        if self._overlap and self._order and not self._begun:
            index = self._order[0]
            with torch.no_grad():
                self._begun[index] = self._blocks[index].start(self._blocks[index].held)


def shard(
    model: MatRISMoE, mesh: Mesh, parameters: bool, experts: bool, half: bool
) -> list[BlockWeights]:
    """Keep of each block only this rank's part, in place; how to restore them.

    Args:
        parameters: divide weight matrices, and stacks of experts with them.
        experts: divide stacks of experts, and restore only those that the batch at hand needs.
        half: experts travel as 16-bit floats.
    """
    matrices: list[tuple[int, str, Tensor]] = []
    blocks = []
    for index, block in enumerate(model.blocks):
        weights = BlockWeights(block)
        blocks.append(weights)
        if experts or parameters:
            for path, layer in _routed(block).items():
                weights.add_experts(
                    ExpertPlan(path, layer, mesh, weights.turn, everything=not experts, half=half)
                )
        if parameters:
            tables = {n for n, m in block.named_modules() if isinstance(m, ElementRouter)}
            matrices += [
                (index, name, value)
                for name, value in block.named_parameters()
                if name not in weights.rows and name.rpartition(".")[0] not in tables
            ]
    owners = _owners(matrices, mesh.unit.size)
    for index, weights in enumerate(blocks):
        entries = [
            (name, value.shape, owners[i, name]) for i, name, value in matrices if i == index
        ]
        if entries:
            entries.sort(key=lambda entry: entry[2])
            weights.sources.insert(0, WholeMatrices(entries, mesh))
            weights.sharded.update(name for name, *_ in entries)
    for index, name, value in matrices:
        if owners[index, name] != mesh.unit.place:
            hold(model.blocks[index], name, value.new_empty(0))
    return blocks


def _routed(block: nn.Module) -> dict[str, RoutedExperts]:
    """Layers of routed experts by path."""
    return {
        path: module for path, module in block.named_modules() if isinstance(module, RoutedExperts)
    }


def _owners(matrices: list[tuple[int, str, Tensor]], ranks: int) -> dict[tuple[int, str], int]:
    """The largest first, each to the rank that holds least of everything, counting its own block twice."""
    total = [0] * ranks
    inside: dict[tuple[int, int], int] = {}
    owners = {}
    for index, name, value in sorted(matrices, key=lambda entry: -entry[2].numel()):
        rank = min(range(ranks), key=lambda r: total[r] + inside.get((index, r), 0))
        owners[index, name] = rank
        total[rank] += value.numel()
        inside[index, rank] = inside.get((index, rank), 0) + value.numel()
    return owners


def hold(block: nn.Module, name: str, part: Tensor) -> None:
    """Put ``part`` in the place of a parameter."""
    path, _, leaf = name.rpartition(".")
    setattr(block.get_submodule(path), leaf, nn.Parameter(part.detach().clone()))
