"""A forward pass that keeps only features between blocks, for forces of large systems."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from janus_md.model.matris import MatRISMoE


class RecomputedBucket(torch.autograd.Function):
    """One bucket of one block that saves its inputs and computes itself again in the backward pass.

    First derivatives with respect to features and geometry only: what an evaluation needs. Works for exported
    models too, which ``torch.utils.checkpoint`` cannot interrupt.
    """

    @staticmethod
    def forward(
        ctx: Any,
        model: MatRISMoE | torch.jit.ScriptModule,
        index: int,
        first: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """tensors: features of all atoms [N, C], the bucket's edges [n, K, D], and its context."""
        ctx.model, ctx.index, ctx.first = model, index, first
        ctx.save_for_backward(*tensors)
        atoms, edges, *context = tensors
        return model.bucket(index, first, atoms, edges, context)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[3:]
        tensors = [
            tensor.detach().requires_grad_(need)
            for tensor, need in zip(ctx.saved_tensors, needed, strict=True)
        ]
        atoms, edges, *context = tensors
        with torch.enable_grad():
            results = ctx.model.bucket(ctx.index, ctx.first, atoms, edges, context)
        inputs = [tensor for tensor in tensors if tensor.requires_grad]
        found = iter(torch.autograd.grad(results, inputs, gradients, allow_unused=True))
        return None, None, None, *(next(found) if need else None for need in needed)


def recomputing_forward(
    model: MatRISMoE | torch.jit.ScriptModule, inputs: tuple[Any, ...]
) -> tuple[Tensor, Tensor]:
    """``model(*inputs)``, with about a third more time and the memory of one bucket of one block.

    Args:
        inputs: those of :meth:`MatRISMoE.forward`.
    """
    species, graph, task = inputs[0], inputs[1], inputs[6]
    atoms, edges, context = model.start(*inputs)
    for index in range(model.num_blocks):
        updated, first = [], 0
        for place, features in enumerate(edges):
            new_atoms, edges[place] = RecomputedBucket.apply(
                model, index, first, atoms, features, *context[place]
            )
            updated.append(new_atoms)
            first += features.shape[0]
        atoms = torch.cat(updated)
    return model.finish(atoms, species, graph, task), atoms
