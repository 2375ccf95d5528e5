"""Initial atom features: the element, and what holds for the whole graph."""

from __future__ import annotations

from torch import Tensor, nn

from janus_md.model.config import ModelConfig


class AtomEmbedding(nn.Module):
    """Element embedding plus task, charge, spin and composition embeddings of the atom's graph."""

    __constants__ = ("uses_charge", "uses_spin", "uses_composition")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.uses_charge = config.charge
        self.uses_spin = config.spin
        self.uses_composition = config.composition
        self.element = nn.Embedding(len(config.elements), config.width)
        self.task = nn.Embedding(len(config.tasks), config.width)
        nn.init.normal_(self.task.weight, std=0.3)
        self.charge = _graph_network(1, config.width) if config.charge else nn.Identity()
        self.spin = _graph_network(1, config.width) if config.spin else nn.Identity()
        self.composition = (
            nn.Linear(len(config.elements), config.width, bias=False)
            if config.composition
            else nn.Identity()
        )

    def forward(
        self,
        species: Tensor,
        graph: Tensor,
        task: Tensor,
        charge: Tensor,
        spin: Tensor,
        composition: Tensor,
    ) -> Tensor:
        """species, graph: int64 [N]; task: int64 [B]; charge, spin: [B]; composition: [B, elements]. → [N, C]."""
        whole = self.task(task)
        dtype = whole.dtype
        if self.uses_charge:
            whole = whole + self.charge(charge.to(dtype).unsqueeze(-1))
        if self.uses_spin:
            whole = whole + self.spin(spin.to(dtype).unsqueeze(-1))
        if self.uses_composition:
            whole = whole + self.composition(composition.to(dtype))
        return self.element(species) + whole.index_select(0, graph)


def _graph_network(inputs: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))
