"""Rotation invariants of angular sums."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class AngularInvariants(nn.Module):
    """Invariants of the angular sums ρ_lm of each channel.

    The sum itself, Σ_m ρ_lm² for l = 1, 2, 3 (three-body), and v·Q·v and tr Q³ of the vector v (l = 1) and the
    traceless matrix Q (l = 2), which are four-body. Written with few operators: atoms are few beside edges, and
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
        squares = torch.matmul(self.by_degree, moments * moments).flatten(1)
        v = moments[:, 1:4]
        # Integers in the tables, the factors beside them: a table of √⅓ would keep the precision it was made in.
        quadrupole = moments[:, 4:9]
        q = torch.matmul(self.mixed, quadrupole) * (1.0 / math.sqrt(3.0))
        q = (q + torch.matmul(self.axial, quadrupole) * (1.0 / 3.0)).view(atoms, 3, 3, channels)
        qv = (q * v.unsqueeze(1)).sum(2)
        qq = (q.unsqueeze(3) * q.unsqueeze(1)).sum(2)
        vqv = (qv * v).sum(1)
        cube = (qq * q).sum([1, 2])
        return torch.cat([moments[:, 0], squares, vqv, cube], dim=-1)
