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

    __constants__ = ("has_line", "updates_edges")

    def __init__(self, config: ModelConfig, has_line: bool, updates_edges: bool) -> None:
        """updates_edges: not in the last block, whose edges nobody reads."""
        super().__init__()
        self.has_line = has_line
        self.updates_edges = updates_edges
        self.line = LineAttention(config) if has_line else nn.Identity()
        self.attention = AtomAttention(config)
        self.edge_update = (
            nn.Linear(config.width, config.edge_width, bias=False)
            if updates_edges
            else nn.Identity()
        )
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
        update, messages = self.attention(
            atoms, all_atoms, edges, neighbours, owners, radial, directions, row_counts
        )
        atoms = atoms + update
        atoms = atoms + self.experts(self.norm(atoms), counts)
        if self.updates_edges:
            edges = edges + self.edge_update(messages)
        return atoms, edges
