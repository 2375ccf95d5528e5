"""One two-layer perceptron per group of rows: the product behind every expert layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def group_mlp(x: Tensor, counts: list[int], w1: Tensor, b1: Tensor, w2: Tensor) -> Tensor:
    """w2[g]ᵀ·silu(w1[g]·x + b1[g]) for the rows of group g.

    Args:
        x: [rows, ..., in], rows sorted by group.
        counts: rows in each group, one for each of the G groups, summing to the number of rows.
        w1: [G, hidden, in]. b1: [G, hidden]. w2: [G, hidden, out].

    Returns:
        [rows, ..., out].
    """
    if len(counts) == 1:
        return torch.matmul(F.silu(F.linear(x, w1[0], b1[0])), w2[0])
    parts: list[Tensor] = []
    for group, rows in enumerate(torch.split(x, counts)):
        if counts[group] > 0:
            parts.append(torch.matmul(F.silu(F.linear(rows, w1[group], b1[group])), w2[group]))
    if len(parts) == 0:
        return torch.matmul(F.silu(F.linear(x, w1[0], b1[0])), w2[0])
    return torch.cat(parts)
