"""One two-layer perceptron per group of rows: an expert layer once its experts are merged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def group_mlp(x: Tensor, counts: list[int], w1: Tensor, w2: Tensor) -> Tensor:
    """silu(x·w1[g])·w2[g] for the rows of group g.

    Args:
        x: [rows, ..., in], rows sorted by group.
        counts: rows in each group, one for each of the G groups, summing to the number of rows.
        w1: [G, in, hidden]. w2: [G, hidden, out].

    Returns:
        [rows, ..., out].
    """
    if len(counts) == 1:
        return torch.matmul(F.silu(torch.matmul(x, w1[0])), w2[0])
    parts: list[Tensor] = []
    for group, rows in enumerate(torch.split(x, counts)):
        if counts[group] > 0:
            parts.append(torch.matmul(F.silu(torch.matmul(rows, w1[group])), w2[group]))
    if len(parts) == 0:
        return torch.matmul(F.silu(torch.matmul(x, w1[0])), w2[0])
    return torch.cat(parts)
