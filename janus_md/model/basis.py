"""Smooth functions of edge lengths and directions."""

from __future__ import annotations

import math

import torch
from ase.data import covalent_radii
from torch import Tensor, nn


def envelope(lengths: Tensor, cutoff: float) -> Tensor:
    """Polynomial that falls from 1 at r = 0 to 0 at the cutoff, twice continuously differentiable there.

    1 − 28x⁶ + 48x⁷ − 21x⁸ (Gasteiger et al., arXiv:2003.03123, eq. 8 with p = 6), in the factorised form
    (1−x)³·(1 + 3x + 6x² + 10x³ + 15x⁴ + 21x⁵), which loses no digits near the cutoff. Exactly zero beyond it.

    Args:
        lengths: Å, any shape. cutoff: Å.
    """
    x = torch.clamp(lengths / cutoff, max=1.0)
    series = 1.0 + x * (3.0 + x * (6.0 + x * (10.0 + x * (15.0 + x * 21.0))))
    rest = 1.0 - x
    return rest * rest * rest * series


class BesselBasis(nn.Module):
    """√2·sin(f_n·r/rc)/(r/rc) with learnable f_n, initially nπ (Gasteiger et al., arXiv:2003.03123, eq. 7)."""

    def __init__(self, size: int, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.frequencies = nn.Parameter(
            math.pi * torch.arange(1, size + 1).to(torch.get_default_dtype())
        )

    def forward(self, lengths: Tensor) -> Tensor:
        """Å, [...] → [..., size]."""
        x = (lengths / self.cutoff).unsqueeze(-1)
        return math.sqrt(2.0) * torch.sin(self.frequencies * x) / x


class ReducedBasis(nn.Module):
    """Gaussians of ln(r / (R_i + R_j)) with a learnable radius R of each element, initially the covalent one.

    Bonds of all pairs of elements lie near one, so what is learnt of one pair serves the others: the idea of MACE's
    distance transform (Batatia et al., arXiv:2401.00096, appendix A.1). The radii are those of ASE (Cordero et al.,
    doi:10.1039/b801115j), in Å.
    """

    CLOSEST, FURTHEST = 0.55, 3.3
    """Centres of the first and last Gaussian, in units of R_i + R_j."""

    def __init__(self, size: int, atomic_numbers: list[int]) -> None:
        super().__init__()
        dtype = torch.get_default_dtype()
        self.radii = nn.Parameter(
            torch.tensor([covalent_radii[number] for number in atomic_numbers], dtype=dtype)
        )
        first, last = math.log(self.CLOSEST), math.log(self.FURTHEST)
        self.register_buffer("centres", torch.linspace(first, last, size, dtype=dtype))
        self.sharpness = 0.5 * (max(size - 1, 1) / (last - first)) ** 2

    def forward(self, lengths: Tensor, centres: Tensor, neighbours: Tensor) -> Tensor:
        """lengths: Å, [n, K]. centres, neighbours: species of the ends, int64 [n] and [n, K]. → [n, K, size]."""
        pair = self.radii[centres].unsqueeze(1) + self.radii[neighbours]
        distance = torch.log(lengths / pair).unsqueeze(-1) - self.centres
        return 2.0 * torch.exp(-self.sharpness * distance * distance)


def chebyshev(cosines: Tensor, size: int) -> Tensor:
    """T_0 … T_{size−1} of cos θ, so cos lθ, stacked in front: [...] → [size, ...].

    Polynomials of the cosine: no arccos, hence no singular derivative at 0 or π.
    """
    terms = [torch.ones_like(cosines), cosines]
    twice = 2.0 * cosines
    for _ in range(size - 2):
        terms.append(twice * terms[-1] - terms[-2])
    return torch.stack(terms[:size])


def harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics of degree 0 to 3 with Σ_m Y_lm² = 1 for each l.

    Args:
        directions: unit vectors, [..., 3].

    Returns:
        [..., 16], degree l in columns l² to (l+1)²−1.
    """
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack(
        [
            torch.ones_like(x),
            x,
            y,
            z,
            math.sqrt(3.0) * x * y,
            math.sqrt(3.0) * y * z,
            1.5 * zz - 0.5,
            math.sqrt(3.0) * x * z,
            math.sqrt(0.75) * (xx - yy),
            math.sqrt(0.625) * y * (3.0 * xx - yy),
            math.sqrt(15.0) * x * y * z,
            math.sqrt(0.375) * y * (5.0 * zz - 1.0),
            0.5 * z * (5.0 * zz - 3.0),
            math.sqrt(0.375) * x * (5.0 * zz - 1.0),
            math.sqrt(3.75) * z * (xx - yy),
            math.sqrt(0.625) * x * (xx - 3.0 * yy),
        ],
        dim=-1,
    )
