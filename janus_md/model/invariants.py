"""Rotation invariants of angular sums."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def angular_invariants(moments: Tensor) -> Tensor:
    """Invariants of the angular sums ρ_lm of each channel.

    The sum itself, Σ_m ρ_lm² for l = 1, 2, 3 (three-body), and v·Q·v and tr Q³ = 3 det Q of the vector v (l = 1) and
    the traceless matrix Q = Σ_j (r̂⊗r̂ − 1/3) (l = 2), which are four-body.

    Args:
        moments: ρ_lm, columns as in :func:`janus_md.model.basis.harmonics`, [n, 16, C].

    Returns:
        [n, 6·C].
    """
    atoms, channels = moments.shape[0], moments.shape[2]
    # Each component in one piece of memory: what follows is a few passes over [n·C].
    sums = moments.transpose(0, 1).reshape(16, atoms * channels)
    squares = sums * sums
    x, y, z = sums[1:4].unbind(0)
    xy, yz, third, xz, half = (sums[4:9] / math.sqrt(3.0)).unbind(0)
    third = third / math.sqrt(3.0)
    xx, yy, zz = half - third, -half - third, 2.0 * third
    vqv = x * (xx * x + 2.0 * (xy * y + xz * z)) + y * (yy * y + 2.0 * yz * z) + zz * z * z
    determinant = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    degrees = [squares[1:4].sum(0), squares[4:9].sum(0), squares[9:16].sum(0)]
    found = torch.stack([sums[0], degrees[0], degrees[1], degrees[2], vqv, 3.0 * determinant])
    return found.view(6, atoms, channels).transpose(0, 1).reshape(atoms, 6 * channels)
