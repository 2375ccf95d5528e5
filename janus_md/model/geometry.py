"""What every block needs to know of a bucket's edges, computed once from the edge vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_md.model.basis import BesselBasis, ReducedBasis, chebyshev, envelope, harmonics
from janus_md.model.config import ModelConfig


class Geometry(nn.Module):
    """Edge vectors → initial edge features and the context of the blocks."""

    __constants__ = (
        "has_line",
        "has_reduced",
        "routes_messages",
        "routes_features",
        "num_elements",
    )

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.has_line = config.num_line_blocks > 0
        self.num_elements = len(config.elements)
        self.routes_messages = config.num_message_experts > 0
        self.routes_features = config.num_feature_experts > 0
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
        owners: Tensor,
        centres: Tensor,
        others: Tensor,
        line_count: int,
    ) -> tuple[Tensor, list[Tensor]]:
        """
        Args:
            vectors: Å, [n, K, 3], nearest first. neighbours: atoms, [n, K]. owners: of the rows, [n] or empty.
            centres: species of the bucket's atoms, int64. others: of the neighbours, [n, K].
            line_count: L, slots that may hold line-graph edges.

        Returns:
            Edge features [n, K, D]; context: neighbours, owners, atoms of each element, rows of each element (both
            int64 on the CPU, and empty where nothing is routed), length basis [n, K, R], harmonics [n, K, 16],
            line radial basis [n, L, R], line envelope [n, L], angles [A, n, L, L]. L is zero where no block attends
            to angles.
        """
        line_count = line_count if self.has_line else 0
        atom_counts = self._by_element(centres, self.routes_features)
        if owners.numel() > 0:
            centres = centres.index_select(0, owners)
        row_counts = self._by_element(centres, self.routes_messages)
        lengths = torch.sqrt((vectors * vectors).sum(-1))
        directions = vectors / lengths.unsqueeze(-1)
        # The features start from the bare basis: a norm acts on them, and a norm undoes an envelope.
        basis = self.radial(lengths)
        if self.has_reduced:
            basis = torch.cat([basis, self.reduced(lengths, centres, others)], dim=-1)
        decay = envelope(lengths, self.cutoff)
        near = lengths[:, :line_count]
        line_decay = envelope(near, self.line_cutoff)
        line_basis = self.line_radial(near) * line_decay.unsqueeze(-1)
        unit = directions[:, :line_count]
        angles = chebyshev(torch.matmul(unit, unit.transpose(1, 2)), self.num_angular)
        context = [
            neighbours,
            owners,
            atom_counts,
            row_counts,
            basis * decay.unsqueeze(-1),
            harmonics(directions),
            line_basis,
            line_decay,
            angles,
        ]
        return self.edge_embedding(basis), context

    def _by_element(self, species: Tensor, routed: bool) -> Tensor:
        # Only products per element need these numbers, and a GPU's work must end before they can be fetched.
        if not routed:
            return species.new_zeros([0])
        ones = torch.ones_like(species)
        return species.new_zeros(self.num_elements).scatter_add(0, species, ones).cpu()
