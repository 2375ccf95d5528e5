"""One block: line attention, atom attention, feature experts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_md.model.atom_attention import AtomAttention
from janus_md.model.config import ModelConfig
from janus_md.model.experts import ExpertMLP
from janus_md.model.line_attention import LineAttention


class Block(nn.Module):
    """Residual updates of the features of a bucket's atoms and edges; needs nothing but its neighbours' features."""

    __constants__ = ("has_line",)

    def __init__(self, config: ModelConfig, has_line: bool) -> None:
        super().__init__()
        self.has_line = has_line
        self.line = LineAttention(config) if has_line else nn.Identity()
        self.attention = AtomAttention(config)
        self.norm = nn.LayerNorm(config.width)
        self.experts = ExpertMLP(
            config.width,
            config.feature_hidden,
            config.width,
            len(config.elements),
            config.num_feature_experts,
            config.top_k,
            config.num_shared_experts,
        )

    def forward(
        self, atoms: Tensor, all_atoms: Tensor, edges: Tensor, context: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            atoms: [a, C], the bucket's. all_atoms: [N, C], those of every bucket and of neighbours held elsewhere.
            edges: [n, K, D], n rows. context: what :class:`janus_md.model.geometry.Geometry` returned for the bucket.

        Returns:
            New atoms [a, C] and edges [n, K, D].
        """
        (
            neighbours,
            owners,
            counts,
            row_counts,
            radial,
            directions,
            line_radial,
            line_envelope,
            angles,
        ) = context
        if self.has_line and line_envelope.shape[1] > 0:
            slots = line_envelope.shape[1]
            near, far = torch.split(edges, [slots, edges.shape[1] - slots], dim=1)
            near = near + self.line(near, line_radial, line_envelope, angles)
            edges = torch.cat([near, far], dim=1)
        atom_update, edge_update = self.attention(
            atoms, all_atoms, edges, neighbours, owners, radial, directions, row_counts
        )
        atoms = atoms + atom_update
        atoms = atoms + self.experts(self.norm(atoms), counts)
        return atoms, edges + edge_update
