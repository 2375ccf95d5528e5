"""Mixtures of experts routed by element, and their exact merging.

An expert layer is Σ_k g_k·W2_kᵀ·silu(W1_k x + b1_k) over the top-k experts of the element that owns the row and
the shared experts (g = 1). The gates belong to the element, not to the row, so the sum is one perceptron of k times
the width: the W1_k stacked, the g_k·W2_k stacked. Training sends each row to its experts; export keeps the stacks and
drops router and experts.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from janus_md.ops import group_mlp


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
    """One perceptron per element: an expert layer without router or experts. Also a dense layer (one group)."""

    def __init__(self, w1: Tensor, b1: Tensor, w2: Tensor) -> None:
        """w1: [G, hidden, in], b1: [G, hidden], w2: [G, hidden, out]."""
        super().__init__()
        self.w1 = nn.Parameter(w1)
        self.b1 = nn.Parameter(b1)
        self.w2 = nn.Parameter(w2)
        self.single = w1.shape[0] == 1

    def forward(self, x: Tensor, counts: list[int]) -> Tensor:
        """x: [rows, ..., in] sorted by element; counts: rows of each element. → [rows, ..., out]."""
        if self.single:
            counts = [x.shape[0]]
        return group_mlp(x, counts, self.w1, self.b1, self.w2)


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
        self.w1 = nn.Parameter(torch.randn(total, hidden, in_width) / math.sqrt(in_width))
        self.b1 = nn.Parameter(torch.zeros(total, hidden))
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

    def merged_weights(self, species: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """w1 [G, k·hidden, in], b1 [G, k·hidden], w2 [G, k·hidden, out] of the elements ``species`` [G]."""
        experts, gates = self.routing()
        if self.router is not None:
            experts, gates = experts[species], gates[species]
        groups = experts.shape[0]
        flat = experts.flatten()
        w1 = self.w1[flat].view(groups, -1, self.w1.shape[2])
        b1 = self.b1[flat].view(groups, -1)
        w2 = (self.w2[flat] * gates.reshape(-1, 1, 1)).view(groups, -1, self.w2.shape[2])
        return w1, b1, w2

    def forward(self, x: Tensor, counts: list[int]) -> Tensor:
        """x: [rows, ..., in] sorted by element; counts: rows of each element. → [rows, ..., out]."""
        kinds = [self.num_experts, self.num_shared]
        (w1, shared_w1), (b1, shared_b1), (w2, shared_w2) = (
            torch.split(weight, kinds) for weight in (self.w1, self.b1, self.w2)
        )
        # The shared experts are one perceptron that acts on every row.
        shared = [weight.flatten(0, 1)[None] for weight in (shared_w1, shared_b1, shared_w2)]
        if self.router is None:
            return group_mlp(x, [x.shape[0]], *shared)
        experts, gates = self.router()
        species = torch.repeat_interleave(torch.tensor(counts, device=x.device))
        chosen = experts[species].flatten()
        by_expert = chosen.argsort(stable=True)
        rows = torch.div(by_expert, experts.shape[1], rounding_mode="floor")
        loads = torch.bincount(chosen, minlength=self.num_experts).tolist()
        routed = group_mlp(x.index_select(0, rows), loads, w1, b1, w2)
        weights = gates[species].flatten()[by_expert].view(-1, *[1] * (x.dim() - 1))
        start = group_mlp(x, [x.shape[0]], *shared) if self.num_shared else routed.new_zeros(())
        start = start.expand(*x.shape[:-1], routed.shape[-1])
        return start.index_add(0, rows, routed * weights)

    def merge(self, species: Tensor) -> MergedMLP:
        """The same function of the elements ``species`` as stacked perceptrons, exact to rounding."""
        with torch.no_grad():
            return MergedMLP(*(weight.detach().clone() for weight in self.merged_weights(species)))
