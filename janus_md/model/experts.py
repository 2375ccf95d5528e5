"""Mixtures of experts routed by element, and their exact merging.

An expert layer is Σ_k g_k·W2_k·silu(W1_k x) over the top-k experts of the element that owns the row and
the shared experts (g = 1). The gates belong to the element, not to the row, so the sum is one perceptron of k times
the width: the W1_k stacked, the g_k·W2_k stacked. Training sends each row to its experts; export keeps the stacks and
drops router and experts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from janus_md.ops import element_mlp, group_mlp
from janus_md.ops.silu import silu


class ElementRouter(nn.Module):
    """A learnable table [elements, experts]; each element uses its k highest entries, softmax over those."""

    def __init__(self, num_elements: int, num_experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.table = nn.Parameter(torch.randn(num_elements, num_experts))
        self.ahead: Tensor | None = None
        """The chosen experts where :func:`chosen_ahead` has fetched them."""

    def choose(self) -> Tensor:
        """Experts of each element, int64 [elements, k], where the table is."""
        return self.table.detach().topk(self.top_k, dim=1).indices

    def forward(self) -> tuple[Tensor, Tensor]:
        """Chosen experts, int64 [elements, k] on the CPU, and their gates, [elements, k], which sum to one."""
        chosen = self.choose().cpu() if self.ahead is None else self.ahead
        values = self.table.gather(1, chosen.to(self.table.device, non_blocking=True))
        return chosen, F.softmax(values, dim=1)


@contextmanager
def chosen_ahead(model: nn.Module) -> Iterator[None]:
    """Inside, all routers' choices are on the CPU: a device is waited for once, and not in every layer.

    The tables must not change inside.
    """
    routers = [module for module in model.modules() if isinstance(module, ElementRouter)]
    found = [router.choose() for router in routers]
    if found:
        parts = torch.cat([chosen.flatten() for chosen in found]).cpu()
        for router, part in zip(routers, parts.split([c.numel() for c in found]), strict=True):
            router.ahead = part.view(-1, router.top_k)
    try:
        yield
    finally:
        for router in routers:
            router.ahead = None


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


class RoutedExperts(nn.Module):
    """Perceptrons of which each element uses a few: Σ_k g_k·W2_k·silu(W1_k x).

    ``perceptron`` does the sum once the experts of each element are chosen; where experts are spread over processes,
    another function of the same signature takes its place.
    """

    def __init__(
        self,
        widths: tuple[int, int, int],
        num_elements: int,
        num_experts: int,
        top_k: int,
        gain: float,
    ) -> None:
        """widths: in, hidden, out. gain: scale of the second weights."""
        super().__init__()
        in_width, hidden, out_width = widths
        self.w1 = nn.Parameter(torch.randn(num_experts, in_width, hidden) / math.sqrt(in_width))
        # Gates near 1/k shrink the variance of the sum by k.
        gain *= math.sqrt(top_k)
        self.w2 = nn.Parameter(torch.randn(num_experts, hidden, out_width) * gain)
        self.router = ElementRouter(num_elements, num_experts, top_k)
        self.perceptron = element_mlp

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """x: [rows, in] or [rows, slots, in] sorted by element; counts: rows of each element. → the same with out."""
        chosen, gates = self.router()
        tokens = x if x.dim() == 3 else x.unsqueeze(1)
        found = self.perceptron(tokens, self.w1, self.w2, chosen, gates, counts)
        return found.view(*x.shape[:-1], found.shape[-1])


class SharedExperts(nn.Module):
    """Perceptrons that every element uses: together one perceptron."""

    def __init__(self, widths: tuple[int, int, int], num_experts: int, gain: float) -> None:
        """widths: in, hidden, out. gain: scale of the second weights."""
        super().__init__()
        in_width, hidden, out_width = widths
        self.w1 = nn.Parameter(torch.randn(num_experts, in_width, hidden) / math.sqrt(in_width))
        self.w2 = nn.Parameter(torch.randn(num_experts, hidden, out_width) * gain)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] → [..., out]."""
        w1 = self.w1.transpose(0, 1).flatten(1)
        return torch.matmul(silu(torch.matmul(x, w1)), self.w2.flatten(0, 1))


class ExpertMLP(nn.Module):
    """A two-layer perceptron whose hidden units are experts: some routed by element, some shared by all."""

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
        """A layer without routed experts is dense and has a perceptron, whatever ``num_shared``."""
        super().__init__()
        if not num_experts:
            num_shared = max(1, num_shared)
        widths = in_width, hidden, out_width
        # This puts the layer's output at unit size.
        gain = 1.6 / math.sqrt(hidden * ((1 if num_experts else 0) + num_shared))
        self.routed = (
            RoutedExperts(widths, num_elements, num_experts, top_k, gain) if num_experts else None
        )
        self.shared = SharedExperts(widths, num_shared, gain) if num_shared else None

    def merged_weights(self, species: Tensor) -> tuple[Tensor, Tensor]:
        """w1 [G, in, k·hidden], w2 [G, k·hidden, out] of the elements ``species`` [G]; G is 1 without routing."""
        first: list[Tensor] = []
        second: list[Tensor] = []
        groups = 1
        if self.routed is not None:
            experts, gates = (rows[species] for rows in self.routed.router())
            groups = len(species)
            first.append(self.routed.w1[experts])
            second.append(self.routed.w2[experts] * gates.unsqueeze(-1).unsqueeze(-1))
        if self.shared is not None:
            first.append(self.shared.w1.expand(groups, -1, -1, -1))
            second.append(self.shared.w2.expand(groups, -1, -1, -1))
        w1, w2 = torch.cat(first, dim=1), torch.cat(second, dim=1)
        return w1.transpose(1, 2).flatten(2), w2.flatten(1, 2)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """x: [rows, in] or [rows, slots, in] sorted by element; counts: rows of each element. → the same with out."""
        if self.routed is None:
            assert self.shared is not None
            return self.shared(x)
        routed = self.routed(x, counts)
        return routed if self.shared is None else self.shared(x) + routed

    def merge(self, species: Tensor) -> MergedMLP:
        """The same function of the elements ``species`` as stacked perceptrons, exact to rounding."""
        with torch.no_grad():
            return MergedMLP(*(weight.detach().clone() for weight in self.merged_weights(species)))
