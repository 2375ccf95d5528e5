"""Experts spread over a unit: each lives on one rank, and a plan made before the step says what has to move.

Which experts an element uses is known from the router's table, and which elements a rank has from its share of the
batch, so every rank makes the same plan without asking. Either the experts that a rank's elements need are restored
there (weights move), or its tokens go to where the experts live (tokens move); whichever sends fewer bytes, per layer
and step. Tokens are atoms where features are renewed and edges where messages are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from janus_md.model.experts import ElementRouter, RoutedExperts
from janus_md.ops import by_row, element_mlp, routed_mlp
from janus_training.parallel.collectives import Pending, all_to_all_after, start_all_to_all
from janus_training.parallel.mesh import Mesh
from janus_training.parallel.tokens import Integers, Tokens


class Transfers(NamedTuple):
    """How often a step sends a layer's tokens there and back, and its weights or their gradients."""

    tokens: int
    weights: int


@dataclass
class Movement:
    """What a layer of experts moves in one step.

    Attributes:
        needed: experts that each rank restores, sorted.
        tokens: how many each rank has for each expert in each table, [unit, tables, E].
        by_tokens: tokens go to the experts instead.
        rows: this rank's experts that are restored anywhere, rank by rank, as places in its part.
        sent, received: experts to and from each rank.
    """

    needed: list[Integers]
    tokens: Integers
    by_tokens: bool
    rows: Integers
    sent: list[int]
    received: list[int]


def evenly(count: int, ranks: int) -> list[int]:
    """``count`` things over ``ranks``."""
    return [count * (rank + 1) // ranks - count * rank // ranks for rank in range(ranks)]


def chosen_experts(router: ElementRouter) -> Integers:
    """Experts that each element uses, [elements, k]."""
    return router.choose().cpu().numpy()


@dataclass
class Turn:
    """Where a block's computation is: in which table, and after which exchange of tokens."""

    table: int = 0
    link: Tensor | None = None


class ExpertPlan:
    """One layer's experts over a unit."""

    def __init__(
        self, path: str, layer: RoutedExperts, mesh: Mesh, turn: Turn, everything: bool, half: bool
    ) -> None:
        """turn: of the block. everything: restore all experts, whatever the batch has. half: 16-bit floats travel."""
        self.path, self.layer, self.unit, self.half = path, layer, mesh.unit, half
        self.turn = turn
        self._everything = everything
        self.chosen: Callable[[ElementRouter], Integers] = chosen_experts
        self.experts = len(layer.w1)
        self.bounds = list(accumulate(evenly(self.experts, mesh.unit.size), initial=0))
        self._floats = sum(w[0].numel() for w in (layer.w1, layer.w2))
        self._widths = layer.w1.shape[1] + layer.w2.shape[2]
        self.moves = self._movement([np.arange(self.experts)] * mesh.unit.size, np.zeros(0), False)
        self.sources = [Stack(f"{path}.{name}", self) for name in ("w1", "w2")]

    @property
    def span(self) -> tuple[int, int]:
        """First expert of this rank and the one after its last."""
        return self.bounds[self.unit.place], self.bounds[self.unit.place + 1]

    @property
    def of_atoms(self) -> bool:
        """Whether its tokens are atoms; those of messages are edges."""
        return not self.path.startswith("attention.")

    def make(self, found: Tokens, transfers: Transfers) -> None:
        """Plan a step with these tokens of each of the model's elements."""
        elements = found.atoms if self.of_atoms else found.edges
        uses = np.zeros((elements.shape[-1], self.experts), dtype=np.int64)
        np.put_along_axis(uses, self.chosen(self.layer.router), 1, axis=1)
        tokens = elements @ uses
        needed = [np.flatnonzero(row) for row in tokens.sum(axis=1)]
        # A router chooses among as many columns as it has experts to choose.
        fewest = np.arange(self.layer.router.top_k)
        needed = [experts if len(experts) else fewest for experts in needed]
        if self._everything:
            needed = [np.arange(self.experts)] * self.unit.size
        away = ~self._local()
        sent = (tokens.sum(axis=1) * away).sum() * self._widths
        restored = sum(away[rank, experts].sum() for rank, experts in enumerate(needed))
        cheaper = transfers.tokens * sent < transfers.weights * restored * self._floats
        by_tokens = bool(cheaper) and not self._everything
        self.moves = self._movement(needed, tokens, by_tokens)
        self.layer.perceptron = partial(_by_tokens, self) if by_tokens else element_mlp

    def _local(self) -> NDArray[np.bool_]:
        """Which experts live on each rank, [unit, E]."""
        places, bounds = np.arange(self.experts), np.array(self.bounds)
        return (places >= bounds[:-1, None]) & (places < bounds[1:, None])

    def _movement(self, needed: list[Integers], tokens: Integers, by_tokens: bool) -> Movement:
        begin, end = self.span
        wanted = [experts[(experts >= begin) & (experts < end)] - begin for experts in needed]
        own = needed[self.unit.place]
        return Movement(
            needed, tokens, by_tokens,
            rows=np.concatenate(wanted),
            sent=[len(experts) for experts in wanted],
            received=np.diff(np.searchsorted(own, self.bounds)).tolist(),
        )  # fmt: skip

    def tokens_between(self, rank: int, owner: int) -> Integers:
        """How many tokens of ``rank`` go to each expert of ``owner``, of the table whose turn it is."""
        return self.moves.tokens[rank, self.turn.table, self.bounds[owner] : self.bounds[owner + 1]]


@dataclass(frozen=True)
class Stack:
    """The stack of one weight of a layer's experts, [experts, in, out] over all ranks."""

    name: str
    plan: ExpertPlan
    what: str = "experts"

    def local(self, held: dict[str, Tensor]) -> Tensor:
        return held[self.name]

    def start(self, local: Tensor) -> Pending:
        plan, moves = self.plan, self.plan.moves
        if moves.by_tokens:
            return Pending([], local.detach(), plan.unit, self.what)
        rows = torch.from_numpy(moves.rows).to(local.device)
        taken = local.detach().index_select(0, rows)
        return start_all_to_all(taken, moves.sent, moves.received, plan.unit, self.what, plan.half)

    def unpack(self, whole: Tensor, held: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.plan.moves.by_tokens:
            return {self.name: whole}
        # The router sees the restored experts only: its columns are theirs.
        table = f"{self.plan.path}.router.table"
        needed = torch.from_numpy(self.plan.moves.needed[self.plan.unit.place]).to(whole.device)
        return {self.name: whole, table: held[table].index_select(1, needed)}

    def start_back(self, gradient: Tensor) -> Pending:
        plan, moves = self.plan, self.plan.moves
        if moves.by_tokens:
            return Pending([], gradient.contiguous(), plan.unit, self.what)
        back = start_all_to_all(
            gradient, moves.received, moves.sent, plan.unit, self.what, plan.half
        )
        rows, arrived = torch.from_numpy(moves.rows).to(gradient.device), back.finish
        begin, end = plan.span
        back.finish = lambda buffer: _summed(arrived(buffer), rows, end - begin)
        return back

    def owned(self, gradient: Tensor) -> dict[str, Tensor]:
        return {self.name: gradient}


def _summed(gradients: Tensor, rows: Tensor, count: int) -> Tensor:
    """Gradients of the rows that others restored → of all ``count`` rows."""
    return gradients.new_zeros(count, *gradients.shape[1:]).index_add_(0, rows, gradients)


def _by_tokens(
    plan: ExpertPlan,
    x: Tensor,
    w1: Tensor,
    w2: Tensor,
    experts: Tensor,
    gates: Tensor,
    counts: Tensor,
) -> Tensor:
    """:func:`janus_md.ops.element_mlp` where ``w1`` and ``w2`` are this rank's experts: tokens go to theirs.

    Args:
        x: [n, K, in], K tokens a row. experts: numbers over all ranks, [S, k]. counts: rows of each element, [S].
    """
    experts, gates = by_row(experts, gates, counts, len(x))
    unit, turn, (rows, active), slots = plan.unit, plan.turn, experts.shape, x.shape[1]
    order = experts.flatten().argsort(stable=True)
    sent = [int(plan.tokens_between(unit.place, rank).sum()) for rank in range(unit.size)]
    by_rank = [plan.tokens_between(rank, unit.place) for rank in range(unit.size)]
    received = [int(counts.sum()) for counts in by_rank]
    taken = x.index_select(0, order // active).flatten(0, 1)
    link = x.new_zeros(0) if turn.link is None else turn.link
    arrived, link = all_to_all_after(link, taken, sent, received, unit, "tokens", plan.half)
    own = np.concatenate([np.repeat(np.arange(len(counts)), counts) for counts in by_rank])
    local = torch.from_numpy(own).to(x.device).unsqueeze(1)
    loads = torch.from_numpy(np.sum(by_rank, axis=0))
    ones = torch.ones_like(local, dtype=x.dtype)
    found = routed_mlp(arrived.unsqueeze(1), w1, w2, local, ones, loads).squeeze(1)
    back, turn.link = all_to_all_after(link, found, received, sent, unit, "tokens", plan.half)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    parts = back.view(len(order), slots, w2.shape[2]).index_select(0, place)
    parts = parts.view(rows, active, slots, w2.shape[2])
    return (parts * gates.view(rows, active, 1, 1)).sum(1)


def imbalance(plans: Sequence[ExpertPlan]) -> float:
    """Largest number of tokens that a rank's experts compute over the mean, less one; over all layers."""
    loads = np.zeros(plans[0].unit.size if plans else 1)
    for plan in plans:
        if plan.moves.by_tokens:
            loads += [
                plan.moves.tokens[..., a:b].sum()
                for a, b in zip(plan.bounds, plan.bounds[1:], strict=False)
            ]
        else:
            loads += plan.moves.tokens.sum(axis=(1, 2))
    return float(loads.max() / max(loads.mean(), 1e-300)) - 1.0 if loads.any() else 0.0
