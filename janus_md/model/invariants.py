"""Rotation invariants of angular sums."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class AngularInvariants(nn.Module):
    """Invariants of the angular sums ρ_lm of each channel.

    The sum itself, Σ_m ρ_lm² for l = 1, 2, 3 (three-body), and v·Q·v and tr Q³ = 3 det Q of the vector v (l = 1) and
    the traceless matrix Q (l = 2), which are four-body. Written with few operators: atoms are few beside edges, and
    second derivatives multiply the number of calls.
    """

    def __init__(self) -> None:
        super().__init__()
        dtype = torch.get_default_dtype()
        degrees = torch.tensor([0] + 3 * [1] + 5 * [2] + 7 * [3])
        by_degree = (degrees == torch.arange(1, 4).unsqueeze(1)).to(dtype)
        # Q = Σ_j (r̂⊗r̂ − 1/3), row by row, from the five harmonics of degree 2: xy, yz, zz, xz, xx − yy.
        mixed = [
            [0, 0, 0, 0, 1],
            [1, 0, 0, 0, 0],
            [0, 0, 0, 1, 0],
            [1, 0, 0, 0, 0],
            [0, 0, 0, 0, -1],
            [0, 1, 0, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 1, 0, 0, 0],
            [0, 0, 0, 0, 0],
        ]
        axial = [[0, 0, diagonal, 0, 0] for diagonal in (-1, 0, 0, 0, -1, 0, 0, 0, 2)]
        self.register_buffer("by_degree", by_degree)
        self.register_buffer("mixed", torch.tensor(mixed, dtype=dtype))
        self.register_buffer("axial", torch.tensor(axial, dtype=dtype))

    def forward(self, moments: Tensor) -> Tensor:
        """moments: ρ_lm, columns as in :func:`janus_md.model.basis.harmonics`, [n, 16, C]. → [n, 6·C]."""
        atoms, channels = moments.shape[0], moments.shape[2]
        # Each component in one piece of memory: what follows are a few passes over [n·C].
        sums = moments.transpose(0, 1).reshape(16, atoms * channels)
        squares = torch.mm(self.by_degree, sums * sums)
        # Integers in the buffers, the factors beside them: a buffer of √⅓ would keep the precision it was made in.
        quadrupole = self.mixed * (1.0 / math.sqrt(3.0)) + self.axial * (1.0 / 3.0)
        v, q = sums[1:4], torch.mm(quadrupole, sums[4:9])
        vqv = ((q.view(3, 3, atoms * channels) * v).sum(1) * v).sum(0, keepdim=True)
        determinant = (q[:3] * torch.linalg.cross(q[3:6], q[6:], dim=0)).sum(0, keepdim=True)
        found = torch.cat([sums[:1], squares, vqv, 3.0 * determinant])
        return found.view(6, atoms, channels).transpose(0, 1).reshape(atoms, 6 * channels)
