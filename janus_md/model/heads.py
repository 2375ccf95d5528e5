"""What is read from the final atom features: energies and, where asked, magnetic moments."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from janus_md.model.config import ModelConfig


class ReferenceEnergies(nn.Module):
    """Energy of (task, element) that the network does not have to learn; kept in float64 whatever the model's type."""

    def __init__(self, num_tasks: int, num_elements: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.zeros(num_tasks, num_elements, dtype=torch.float64))

    def forward(self, task: Tensor, species: Tensor) -> Tensor:
        """task, species of each atom, int64 [N]. → eV, float64 [N]."""
        return self.table[task, species]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ReferenceEnergies:
        exact = self.get_buffer("table")
        super()._apply(fn, recurse)
        self.register_buffer("table", exact.to(self.get_buffer("table").device))
        return self


class EnergyHead(nn.Module):
    """Per-atom energy in units of ``scale``, plus the reference energy.

    A linear map of the features, which carries energies of any size, and a perceptron of the normed ones.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, 1, bias=False)
        self.norm = nn.LayerNorm(config.width)
        self.hidden = nn.Linear(config.width, config.readout_hidden)
        self.out = nn.Linear(config.readout_hidden, 1, bias=False)
        self.references = ReferenceEnergies(len(config.tasks), len(config.elements))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, atoms: Tensor, task: Tensor, species: Tensor) -> Tensor:
        """atoms: [N, C]; task, species of each atom: int64 [N]. → eV, float64 [N]."""
        learnt = self.linear(atoms) + self.out(F.silu(self.hidden(self.norm(atoms))))
        learnt = learnt.squeeze(-1) * self.scale
        return learnt.to(torch.float64) + self.references(task, species)


class MagmomHead(nn.Module):
    """Non-negative magnetic moment of each atom, μ_B."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.hidden = nn.Linear(config.width, config.readout_hidden)
        self.out = nn.Linear(config.readout_hidden, 1)

    def forward(self, atoms: Tensor) -> Tensor:
        """[N, C] → [N]."""
        return F.softplus(self.out(F.silu(self.hidden(self.norm(atoms))))).squeeze(-1)
