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


class Experts(nn.Module):
    """Weights of several perceptrons: w1 [E, in, hidden], w2 [E, hidden, out]."""

    def __init__(self, count: int, in_width: int, hidden: int, out_width: int, gain: float) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(count, in_width, hidden) / math.sqrt(in_width))
        self.w2 = nn.Parameter(torch.randn(count, hidden, out_width) * gain)


class ExpertMLP(nn.Module):
    """A two-layer perceptron whose hidden units are experts: routed ones, chosen by element, and shared ones."""

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
        active = (1 if num_experts else 0) + num_shared
        gain = 1.6 / math.sqrt(hidden * active)
        self.routed = self.router = self.shared = None
        if num_experts:
            # Gates near 1/k shrink the variance of the routed sum by k; this puts the layer's output at unit size.
            self.routed = Experts(num_experts, in_width, hidden, out_width, gain * math.sqrt(top_k))
            self.router = ElementRouter(num_elements, num_experts, top_k)
        if num_shared:
            self.shared = Experts(num_shared, in_width, hidden, out_width, gain)

    def merged_weights(self, species: Tensor) -> tuple[Tensor, Tensor]:
        """w1 [G, in, k·hidden], w2 [G, k·hidden, out] of the elements ``species`` [G]; G is 1 without routing."""
        groups = 1 if self.router is None else len(species)
        first, second = [], []
        if self.router is not None:
            chosen, gates = (table[species] for table in self.router())
            first.append(self.routed.w1[chosen])
            second.append(self.routed.w2[chosen] * gates.unsqueeze(-1).unsqueeze(-1))
        if self.shared is not None:
            first.append(self.shared.w1.expand(groups, -1, -1, -1))
            second.append(self.shared.w2.expand(groups, -1, -1, -1))
        w1, w2 = torch.cat(first, dim=1), torch.cat(second, dim=1)
        return w1.transpose(1, 2).flatten(2), w2.flatten(1, 2)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """x: [rows, in] or [rows, slots, in] sorted by element; counts: rows of each element. → the same with out."""
        if self.router is None:
            return self._shared(x)
        chosen, gates = self.router()
        species = torch.repeat_interleave(counts.to(x.device), output_size=x.shape[0])
        experts = chosen[species]
        tokens = x if x.dim() == 3 else x.unsqueeze(1)
        hidden = F.silu(expert_expand(tokens, self.routed.w1, experts))
        hidden = hidden * gates[species].unsqueeze(-1).unsqueeze(-1)
        routed = expert_contract(hidden, self.routed.w2, experts).view(*x.shape[:-1], -1)
        return routed if self.shared is None else routed + self._shared(x)

    def _shared(self, x: Tensor) -> Tensor:
        """The shared experts are one perceptron that acts on every row."""
        w1 = self.shared.w1.transpose(0, 1).flatten(1)
        w2 = self.shared.w2.flatten(0, 1)
        return torch.matmul(F.silu(torch.matmul(x, w1)), w2)

    def merge(self, species: Tensor) -> MergedMLP:
        """The same function of the elements ``species`` as stacked perceptrons, exact to rounding."""
        with torch.no_grad():
            return MergedMLP(*(weight.detach().clone() for weight in self.merged_weights(species)))
