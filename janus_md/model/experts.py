"""Mixtures of experts routed by element, and their exact merging.

An expert layer is Σ_k g_k·W2_k·silu(W1_k x) over the top-k experts of the element that owns the row and
the shared experts (g = 1). The gates belong to the element, not to the row, so the sum is one perceptron of k times
the width: the W1_k stacked, the g_k·W2_k stacked. Training sends each row to its experts; export keeps the stacks and
drops router and experts.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from janus_md.ops import expert_contract, expert_expand, group_mlp


class ElementRouter(nn.Module):
    """A learnable table [elements, experts]; each element uses its k highest entries, softmax over those."""

    def __init__(self, num_elements: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.table = nn.Parameter(torch.randn(num_elements, num_experts))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Chosen experts, int64 [elements, k], and their gates, [elements, k], which sum to one."""
        chosen = self.table.topk(self.top_k, dim=1)
        return chosen.indices, F.softmax(chosen.values, dim=1)


class MergedMLP(nn.Module):
    """One perceptron per element: an expert layer without router or experts."""

    def __init__(self, w1: Tensor, w2: Tensor) -> None:
        """w1: [G, in, hidden], w2: [G, hidden, out]."""
        super().__init__()
        self.w1 = nn.Parameter(w1)
        self.w2 = nn.Parameter(w2)
        self.single = w1.shape[0] == 1

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """x: [rows, ..., in] sorted by element; counts: rows of each element, on the CPU. → [rows, ..., out]."""
        if self.single:
            return group_mlp(x, [x.shape[0]], self.w1, self.w2)
        rows: list[int] = counts.tolist()
        return group_mlp(x, rows, self.w1, self.w2)


class ExpertMLP(nn.Module):
    """A two-layer perceptron whose hidden units are experts, chosen by element.

    Experts ``0 … num_experts−1`` are routed, the last ``num_shared`` always on.
    """

    def __init__(
        self,
        in_width: int,
        hidden: int,
        out_width: int,
        num_elements: int,
        num_experts: int,
        top_k: int,
        num_shared: int,
    ) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.num_shared = num_shared
        total = num_experts + num_shared
        self.w1 = nn.Parameter(torch.randn(total, in_width, hidden) / math.sqrt(in_width))
        # Gates near 1/k shrink the variance of the routed sum by k; this puts the layer's output at unit size.
        active = (1 if num_experts else 0) + num_shared
        spread = torch.full((total, 1, 1), 1.0)
        spread[:num_experts] = math.sqrt(max(top_k, 1))
        gain = 1.6 / math.sqrt(hidden * active)
        self.w2 = nn.Parameter(torch.randn(total, hidden, out_width) * gain * spread)
        self.router = ElementRouter(num_elements, num_experts, top_k) if num_experts else None

    def routing(self) -> tuple[Tensor, Tensor]:
        """Active experts and gates of each element, [elements, k + shared]; one row for a layer without routing."""
        shared = torch.arange(
            self.num_experts, self.num_experts + self.num_shared, device=self.w1.device
        )
        ones = torch.ones(self.num_shared, dtype=self.w1.dtype, device=self.w1.device)
        if self.router is None:
            return shared[None], ones[None]
        chosen, gates = self.router()
        rows = chosen.shape[0]
        return (
            torch.cat([chosen, shared.expand(rows, -1)], dim=1),
            torch.cat([gates, ones.expand(rows, -1)], dim=1),
        )

    def merged_weights(self, species: Tensor) -> tuple[Tensor, Tensor]:
        """w1 [G, in, k·hidden], w2 [G, k·hidden, out] of the elements ``species`` [G]."""
        experts, gates = self.routing()
        if self.router is not None:
            experts, gates = experts[species], gates[species]
        groups, active = experts.shape
        w1 = self.w1[experts].transpose(1, 2).reshape(groups, self.w1.shape[1], -1)
        w2 = self.w2[experts] * gates.view(groups, active, 1, 1)
        return w1, w2.view(groups, -1, self.w2.shape[2])

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """x: [rows, in] or [rows, slots, in] sorted by element; counts: rows of each element. → the same with out."""
        out = self._shared(x) if self.num_shared else None
        if self.router is None:
            assert out is not None
            return out
        chosen, gates = self.router()
        species = torch.repeat_interleave(counts.to(x.device), output_size=x.shape[0])
        experts = chosen[species]
        tokens = x if x.dim() == 3 else x.unsqueeze(1)
        hidden = F.silu(expert_expand(tokens, self.w1, experts))
        hidden = hidden * gates[species].unsqueeze(-1).unsqueeze(-1)
        routed = expert_contract(hidden, self.w2, experts).view(*x.shape[:-1], -1)
        return routed if out is None else out + routed

    def _shared(self, x: Tensor) -> Tensor:
        """The shared experts are one perceptron that acts on every row."""
        w1 = self.w1[self.num_experts :].transpose(0, 1).flatten(1)
        w2 = self.w2[self.num_experts :].flatten(0, 1)
        return torch.matmul(F.silu(torch.matmul(x, w1)), w2)

    def merge(self, species: Tensor) -> MergedMLP:
        """The same function of the elements ``species`` as stacked perceptrons, exact to rounding."""
        with torch.no_grad():
            return MergedMLP(*(weight.detach().clone() for weight in self.merged_weights(species)))
