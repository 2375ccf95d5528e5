"""Edges attend to edges of the same centre: the line graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from janus_md.model.config import ModelConfig
from janus_md.ops import line_attention


class LineAttention(nn.Module):
    """α_pq·f_h(θ_pq)·v_q summed over the edges q of p's centre.

    Logits are q_p·k_q/√d + b_h(θ_pq); f_h and b_h are per-head series in cos lθ. Projections act on edges; an angle
    costs a dot product, a bias and a factor. α is a sigmoid times the key's envelope, so every key comes and goes with
    weight zero whatever the others are. A value carries a radial filter, and the result the envelope of p, so
    an edge enters and leaves the line graph smoothly.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.key_width = config.key_width
        queries = config.heads * config.key_width
        width = config.edge_width
        self.split = [queries, queries, width]
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 2 * queries + width)
        self.filter = nn.Linear(config.num_radial, width, bias=False)
        self.angular = nn.Parameter(torch.randn(2 * config.heads, config.num_angular) * 0.3)
        with torch.no_grad():
            self.angular[config.heads :, 0] += 1.0
        self.out = nn.Linear(width, width, bias=False)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, edges: Tensor, radial: Tensor, envelope: Tensor, angles: Tensor) -> Tensor:
        """
        Args:
            edges: features of the line-graph slots, [n, L, D].
            radial: radial basis times line envelope, [n, L, R]. envelope: of the slots, [n, L].
            angles: T_l(cos θ_pq), [A, n, L, L].

        Returns:
            Update of the edges, [n, L, D].
        """
        q, k, v = torch.split(self.project(self.norm(edges)), self.split, dim=-1)
        q = q * (1.0 / math.sqrt(self.key_width))
        v = v * self.filter(radial)
        summed = line_attention(q, k, v, angles, envelope, self.angular)
        return self.out(summed) * (self.scale * envelope.unsqueeze(-1))
