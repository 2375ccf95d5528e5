"""What every block needs to know of a bucket's edges, computed once from the edge vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_md.model.basis import BesselBasis, ReducedBasis, chebyshev, envelope, harmonics
from janus_md.model.config import ModelConfig


class Geometry(nn.Module):
    """Edge vectors → initial edge features and the context of the blocks."""

    __constants__ = ("has_reduced",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cutoff = config.cutoff
        self.line_cutoff = config.line_cutoff
        self.num_angular = config.num_angular
        self.radial = BesselBasis(config.num_radial, config.cutoff)
        self.line_radial = BesselBasis(config.num_radial, config.line_cutoff)
        self.has_reduced = config.num_reduced > 0
        self.reduced = (
            ReducedBasis(config.num_reduced, config.atomic_numbers)
            if self.has_reduced
            else nn.Identity()
        )
        self.edge_embedding = nn.Linear(config.num_lengths, config.edge_width)
        nn.init.normal_(self.edge_embedding.bias)

    def forward(
        self,
        vectors: Tensor,
        neighbours: Tensor,
        own: Tensor,
        others: Tensor,
        counts: Tensor,
        line_count: int,
    ) -> tuple[Tensor, list[Tensor]]:
        """
        Args:
            vectors: Å, [n, K, 3], nearest first. neighbours: rows, [n, K].
            own: species of the centres, int64 [n]. others: of the neighbours, [n, K].
            counts: atoms of each element, int64 on the CPU. line_count: L, slots that may hold line-graph edges.

        Returns:
            Edge features [n, K, D]; context: neighbours, counts, length basis [n, K, R], envelope [n, K],
            harmonics [n, K, 16], line radial basis [n, L, R], line envelope [n, L], angles [A, n, L, L].
        """
        lengths = torch.sqrt((vectors * vectors).sum(-1))
        directions = vectors / lengths.unsqueeze(-1)
        # The features start from the bare basis: a norm acts on them, and a norm undoes an envelope.
        basis = self.radial(lengths)
        if self.has_reduced:
            basis = torch.cat([basis, self.reduced(lengths, own, others)], dim=-1)
        decay = envelope(lengths, self.cutoff)
        near = lengths[:, :line_count]
        line_decay = envelope(near, self.line_cutoff)
        line_basis = self.line_radial(near) * line_decay.unsqueeze(-1)
        unit = directions[:, :line_count]
        angles = chebyshev(torch.matmul(unit, unit.transpose(1, 2)), self.num_angular)
        context = [
            neighbours,
            counts,
            basis * decay.unsqueeze(-1),
            decay,
            harmonics(directions),
            line_basis,
            line_decay,
            angles,
        ]
        return self.edge_embedding(basis), context
