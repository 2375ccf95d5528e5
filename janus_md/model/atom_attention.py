"""Atoms attend to their edges: messages from experts, weighted per head, summed into angular moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from janus_md.model.config import ModelConfig
from janus_md.model.experts import ExpertMLP
from janus_md.model.invariants import AngularInvariants
from janus_md.ops.row_products import contract, spread


class AtomAttention(nn.Module):
    """m_ij = MoE[h_i, h_j, e_ij] ⊙ W·b(r_ij), then ρ_i,lm = Σ_j α_ij m_ij Y_lm(r̂_ij) and its invariants.

    The parts of the first linear layer that act on h are applied per atom, before the gather. Queries meet the key
    weights there, too, so that an edge costs one dot product per head: q·(W·t) = (Wᵀ·q)·t.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.key_width = config.key_width
        queries = config.heads * config.key_width
        self.atom_norm = nn.LayerNorm(config.width)
        self.edge_norm = nn.LayerNorm(config.edge_width)
        self.to_centre = nn.Linear(config.width, config.edge_width + queries)
        self.to_neighbours = nn.Linear(config.width, config.edge_width)
        self.keys = nn.Linear(config.edge_width, queries, bias=False)
        self.split = [config.edge_width, queries]
        self.experts = ExpertMLP(
            config.edge_width,
            config.message_hidden,
            config.width,
            len(config.elements),
            config.num_message_experts,
            config.top_k,
            config.num_shared_experts,
        )
        self.filter = nn.Linear(config.num_lengths, config.width, bias=False)
        self.invariants = AngularInvariants()
        self.out = nn.Linear(6 * config.width, config.width, bias=False)
        self.register_buffer("scale", torch.ones(()))

    def forward(
        self,
        atoms: Tensor,
        all_atoms: Tensor,
        edges: Tensor,
        neighbours: Tensor,
        owners: Tensor,
        radial: Tensor,
        directions: Tensor,
        counts: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            atoms: features of the centres, [a, C]. all_atoms: what neighbours index, [N, C].
            edges: [n, K, D]. neighbours: places in all_atoms, [n, K]. owners: places of the rows in atoms, sorted,
                [n]; empty where each atom has one row.
            radial: length basis times envelope, [n, K, R]. directions: Y_lm, [n, K, 16].
            counts: rows of each element, int64 on the CPU; empty in a dense model.

        Returns:
            Updates of the atoms, [a, C], and the weighted messages α·m they are made of, [n, K, C].
        """
        rows, slots = neighbours.shape[0], neighbours.shape[1]
        own = self.to_centre(self.atom_norm(atoms))
        if owners.numel() > 0:
            own = own.index_select(0, owners)
        centre, q = torch.split(own, self.split, dim=-1)
        sent = self.to_neighbours(self.atom_norm(all_atoms))
        gathered = sent.index_select(0, neighbours.flatten()).view(rows, slots, sent.shape[1])
        tokens = self.edge_norm(edges) + gathered + centre.unsqueeze(1)
        messages = self.experts(tokens, counts) * self.filter(radial)

        q = q.view(rows, self.heads, self.key_width) * (1.0 / math.sqrt(self.key_width))
        keys = self.keys.weight.view(self.heads, self.key_width, tokens.shape[2])
        asked = torch.matmul(q.transpose(0, 1), keys).permute(1, 2, 0)
        # No envelope on the weights: the messages' filter has one.
        weights = torch.sigmoid(spread(tokens, asked))
        width = messages.shape[2]
        by_head = messages.view(rows, slots, self.heads, width // self.heads)
        weighted = (by_head * weights.unsqueeze(-1)).view(rows, slots, width)
        moments = contract(directions, weighted) * self.scale
        if owners.numel() > 0:
            whole = moments.new_zeros([atoms.shape[0], moments.shape[1], moments.shape[2]])
            moments = whole.index_add(0, owners, moments)
        return self.out(self.invariants(moments)), weighted
