"""Energies and their gradients block by block: where weights are restored, features exchanged, and blocks recomputed.

The four phases of a step (arXiv:2604.15821) run through the blocks in this order, which is that of the exchanges:
energies 0 → L, forces L → 0, backward of the forces 0 → L, backward of the energies L → 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from janus_md.model import MatRISMoE
from janus_md.model.engine import Derivatives, Inputs
from janus_md.model.matris import own_atoms
from janus_md.model.recompute import plus
from janus_md.ops.recomputed import Kept, Recomputing
from janus_training.parallel.experts import Transfers, Turn
from janus_training.parallel.sharding import BlockWeights, Restorer

Exchange = Callable[[Tensor], Tensor]
"""Features of a rank's own atoms → the same, then those of its ghosts, which other ranks hold."""


@dataclass(frozen=True)
class BlockPolicy:
    """What happens to a block between the phases of a step.

    Attributes:
        recompute: keep only its inputs, and compute it again in each phase.
        regather: let go of its whole weights after each phase, and restore them for the next; needs ``recompute``.
    """

    recompute: bool = False
    regather: bool = False


def transfers(policy: BlockPolicy, training: bool) -> Transfers:
    """What a policy makes of experts' tokens and weights in one step.

    Each phase sends tokens once, and again as often as it computes a block again. Weights are restored once or in each
    phase. Gradients leave in the backward of the forces and of the energies; where weights are kept those are one.
    """
    tokens = (1, 2, 3, 3) if policy.recompute else (1, 1, 1, 1)
    restored = (1, 1, 1, 1) if policy.regather else (1, 0, 0, 0)
    if not training:
        return Transfers(sum(tokens[:2]), sum(restored[:2]))
    return Transfers(sum(tokens), sum(restored) + (2 if policy.regather else 1))


class BlockwiseDerivatives:
    """An engine over blocks whose weights are shards and whose atoms may have neighbours on other ranks."""

    def __init__(
        self,
        model: MatRISMoE,
        weights: Sequence[BlockWeights],
        restorer: Restorer,
    ) -> None:
        self._model = model
        self._weights = weights
        self._restorer = restorer
        self.policies: Sequence[BlockPolicy] = [BlockPolicy()] * model.num_blocks
        self.exchange: Exchange | None = None
        """Of the batch at hand; None where no graph is divided."""

    def __call__(self, inputs: Inputs) -> Derivatives:
        model, training = self._model, torch.is_grad_enabled()
        self._restorer.begin(self._order(training))
        with torch.enable_grad():
            everyone, edges, context = model.start(*inputs)
        shared = [tensor for bucket in context for tensor in bucket]
        started = [everyone, *edges, *shared]
        sizes = [len(bucket) for bucket in context]
        steps: list[Kept | Recomputing] = []
        halos: list[tuple[Tensor, Tensor]] = []
        for index in range(model.num_blocks):
            step = self._step(index, [everyone, *edges, *shared], sizes)
            own, *edges = step.forward()
            steps.append(step)
            everyone = own
            if self.exchange is not None and index + 1 < model.num_blocks:
                with torch.enable_grad():
                    own = own if own.requires_grad else own.requires_grad_()
                    everyone = self.exchange(own)
                halos.append((own, everyone))
        with torch.enable_grad():
            own = own.requires_grad_()
            count = len(own)
            rows = model.finish(own, inputs.species[:count], inputs.graph[:count], inputs.task)
            (back,) = torch.autograd.grad(rows.sum(), own, create_graph=training)
        found = _backwards(steps, halos, back, len(edges), len(started))
        return Derivatives(rows, own, _by_vectors(started, found, inputs.vectors))

    def _order(self, training: bool) -> list[int]:
        """Blocks in the order in which their weights are restored."""
        blocks = list(range(self._model.num_blocks))
        again = [index for index in blocks if self.policies[index].regather]
        rounds = [again, again[::-1]] if training else []
        return [*blocks, *again[::-1], *(index for chosen in rounds for index in chosen)]

    def _step(self, index: int, tensors: list[Tensor], sizes: list[int]) -> Kept | Recomputing:
        policy, held = self.policies[index], self._weights[index].held
        if policy.regather:
            restore = partial(self._restorer.restore, index)
        else:
            with torch.enable_grad():
                held = self._restorer.restore(index, held)
            restore = _as_they_are
        block, turn = self._model.blocks[index], self._weights[index].turn
        function = partial(_block, block, turn, restore, list(held), sizes)
        # The first atoms' features do not depend on the geometry; parameters have no part in forces.
        wanted = [tensor.is_floating_point() for tensor in tensors] + [False] * len(held)
        wanted[0] = index > 0
        kind = Recomputing if policy.recompute else Kept
        return kind(function, tuple(wanted), [*tensors, *held.values()])


def _block(
    block: nn.Module,
    turn: Turn,
    restore: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    names: list[str],
    sizes: list[int],
    *tensors: Tensor,
) -> list[Tensor]:
    """One block on all tables: features of all atoms, edges and contexts, then the weights held → own atoms, edges."""
    kept = len(tensors) - len(names)
    parameters = restore(dict(zip(names, tensors[kept:], strict=True)))
    atoms, rest = tensors[0], list(tensors[1:kept])
    edges, shared = rest[: len(sizes)], iter(rest[len(sizes) :])
    updated, new_edges, first = [], [], 0
    for table, (features, size) in enumerate(zip(edges, sizes, strict=True)):
        turn.table = table
        context = [next(shared) for _ in range(size)]
        own = own_atoms(atoms, first, features, context)
        new_atoms, new_features = functional_call(
            block, parameters, (own, atoms, features, context)
        )
        updated.append(new_atoms)
        new_edges.append(new_features)
        first += len(features)
    turn.link = None  # it holds on to what was computed
    return [torch.cat(updated), *new_edges]


def _as_they_are(held: dict[str, Tensor]) -> dict[str, Tensor]:
    return held


def _backwards(
    steps: list[Kept | Recomputing],
    halos: list[tuple[Tensor, Tensor]],
    atoms: Tensor | None,
    buckets: int,
    count: int,
) -> list[Tensor | None]:
    """Gradient of the final features → of what the blocks started from: atoms, edges, contexts, ``count`` in all.

    Takes the steps off the list, so that an evaluation lets go of a block's features once they are done with.
    """
    edges: list[Tensor | None] = [None] * buckets
    shared: list[Tensor | None] = []
    while steps:
        found = steps.pop().pull_back([atoms, *edges])
        atoms, edges = found[0], found[1 : 1 + buckets]
        more = found[1 + buckets : count]
        shared = [plus(a, b) for a, b in zip(shared or [None] * len(more), more, strict=True)]
        if halos and steps:
            own, everyone = halos.pop()
            given = torch.zeros_like(everyone) if atoms is None else atoms
            (atoms,) = torch.autograd.grad(
                everyone, own, given, create_graph=torch.is_grad_enabled()
            )
    return [atoms, *edges, *shared]


def _by_vectors(
    started: list[Tensor], gradients: list[Tensor | None], vectors: list[Tensor]
) -> list[Tensor]:
    """Gradients by what the blocks start from → by the edge vectors it was made of."""
    pairs = [
        (tensor, gradient)
        for tensor, gradient in zip(started, gradients, strict=True)
        if gradient is not None and tensor.requires_grad
    ]
    found = torch.autograd.grad(
        [tensor for tensor, _ in pairs],
        vectors,
        [gradient for _, gradient in pairs],
        create_graph=torch.is_grad_enabled(),
    )
    return list(found)
