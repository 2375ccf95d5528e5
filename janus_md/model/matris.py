"""MatRIS-MoE: invariant attention over atoms and edges with experts routed by element (arXiv:2604.15821, 2603.02002).

The model is three methods: ``start`` (embeddings and geometry), ``block`` (one round of attention) and ``finish``
(energies). The only thing an atom needs from atoms held elsewhere is their features between blocks, so whoever
distributes the atoms calls the three in turn and exchanges features in between; ``forward`` does it for one process.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from janus_md.model.block import Block
from janus_md.model.config import ModelConfig
from janus_md.model.embedding import AtomEmbedding
from janus_md.model.geometry import Geometry
from janus_md.model.heads import EnergyHead, MagmomHead


def own_atoms(atoms: Tensor, first: int, edges: Tensor, context: list[Tensor]) -> Tensor:
    """Features of the bucket's atoms among those of all: all of them where atoms own several rows (``context[1]``)."""
    return atoms if context[1].numel() > 0 else atoms[first : first + edges.shape[0]]


class MatRISMoE(nn.Module):
    """The potential. Rows and buckets are those of :class:`janus_md.graph.GraphBatch`."""

    __constants__ = ("has_magmoms",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.atomic_numbers = config.atomic_numbers
        self.has_magmoms = config.magmoms
        self.num_elements = len(config.elements)
        self.num_blocks = config.blocks
        self.floats_per_edge = config.floats_per_edge
        self.embedding = AtomEmbedding(config)
        self.geometry = Geometry(config)
        self.blocks = nn.ModuleList(
            [
                Block(config, index < config.num_line_blocks, index < config.blocks - 1)
                for index in range(config.blocks)
            ]
        )
        self.heads = nn.ModuleDict({"energy": EnergyHead(config)})
        if config.magmoms:
            self.heads["magmoms"] = MagmomHead(config)

    @torch.jit.export
    def start(
        self,
        species: Tensor,
        graph: Tensor,
        neighbours: list[Tensor],
        owners: list[Tensor],
        vectors: list[Tensor],
        line_counts: list[int],
        task: Tensor,
        charge: Tensor,
        spin: Tensor,
        composition: Tensor,
    ) -> tuple[Tensor, list[Tensor], list[list[Tensor]]]:
        """Initial features.

        Args:
            species: index into the model's elements, int64 [N_all]: owned atoms, bucket by bucket and sorted by
                species inside a bucket, then any others that appear as neighbours.
            graph: graph of each atom, int64 [N_all].
            neighbours: [n_b, K_b] each. vectors: Å, [n_b, K_b, 3] each, nearest first.
            owners: of the rows, [n_b] each, for a single bucket that is all there is; empty where rows are atoms.
            line_counts: leading slots that may be shorter than the line cutoff.
            task: int64 [B]. charge: e, [B]. spin: multiplicity, [B].
            composition: fraction of each element, [B, elements].

        Returns:
            Features of all atoms [N_all, C], of each bucket's edges, and the buckets' contexts.
        """
        atoms = self.embedding(species, graph, task, charge, spin, composition)
        edges: list[Tensor] = []
        context: list[list[Tensor]] = []
        first = 0
        for bucket, table in enumerate(neighbours):
            centres = species
            if owners[bucket].numel() == 0:
                centres = species[first : first + table.shape[0]]
            features, shared = self.geometry(
                vectors[bucket].to(atoms.dtype),
                table,
                owners[bucket],
                centres,
                species[table],
                line_counts[bucket],
            )
            edges.append(features)
            context.append(shared)
            first += table.shape[0]
        return atoms, edges, context

    @torch.jit.export
    def block(
        self, index: int, atoms: Tensor, edges: list[Tensor], context: list[list[Tensor]]
    ) -> tuple[Tensor, list[Tensor]]:
        """Block ``index``: all atoms' features [N_all, C] → new ones of the owned atoms [N, C], and of the edges."""
        updated: list[Tensor] = []
        new_edges: list[Tensor] = []
        first = 0
        for bucket, features in enumerate(edges):
            new_atoms, new_features = self.bucket(index, first, atoms, features, context[bucket])
            updated.append(new_atoms)
            new_edges.append(new_features)
            first += features.shape[0]
        return torch.cat(updated), new_edges

    @torch.jit.export
    def bucket(
        self, index: int, first: int, atoms: Tensor, edges: Tensor, context: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Block ``index`` for the one bucket whose rows begin at ``first``: new atoms [n, C] and edges [n, K, D]."""
        own = own_atoms(atoms, first, edges, context)
        result = own, edges
        for number, block in enumerate(self.blocks):
            if number == index:
                result = block(own, atoms, edges, context)
        return result

    @torch.jit.export
    def finish(self, atoms: Tensor, species: Tensor, graph: Tensor, task: Tensor) -> Tensor:
        """Energies in eV, float64 [N], reference energies included, of owned atoms with features [N, C]."""
        return self.heads["energy"](atoms, task.index_select(0, graph), species)

    @torch.jit.export
    def magmoms(self, atoms: Tensor) -> Tensor:
        """Magnetic moments in μ_B, [N]; empty where the model has no such head."""
        if self.has_magmoms:
            return self.heads["magmoms"](atoms)
        return atoms.new_zeros([0])

    def forward(
        self,
        species: Tensor,
        graph: Tensor,
        neighbours: list[Tensor],
        owners: list[Tensor],
        vectors: list[Tensor],
        line_counts: list[int],
        task: Tensor,
        charge: Tensor,
        spin: Tensor,
        composition: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Energies [N] (eV, float64) and final features [N, C] of a batch held whole by this process."""
        atoms, edges, context = self.start(
            species,
            graph,
            neighbours,
            owners,
            vectors,
            line_counts,
            task,
            charge,
            spin,
            composition,
        )
        for index in range(len(self.blocks)):
            atoms, edges = self.block(index, atoms, edges, context)
        return self.finish(atoms, species, graph, task), atoms

    @torch.jit.unused
    def set_statistics(
        self,
        reference_energies: dict[tuple[str, str], float],
        energy_scale: float,
        mean_neighbours: float,
        mean_line_neighbours: float,
    ) -> None:
        """Put the output at the scale of the data; called once, before training.

        Args:
            reference_energies: eV for (task, element).
            energy_scale: eV, the typical size of a force component times 1 Å.
            mean_neighbours, mean_line_neighbours: per atom, inside the cutoff and the line cutoff.
        """
        self.set_references(reference_energies)
        self.heads["energy"].scale.fill_(energy_scale)
        for block in self.blocks:
            block.attention.scale.fill_(max(mean_neighbours, 1.0) ** -0.5)
            if block.has_line:
                block.line.scale.fill_(max(mean_line_neighbours, 1.0) ** -0.5)

    @torch.jit.unused
    def set_references(self, reference_energies: dict[tuple[str, str], float]) -> None:
        """Write reference energies, eV for (task, element), into the model."""
        table = self.heads["energy"].references.table
        for (task, element), energy in reference_energies.items():
            table[self.config.tasks.index(task), self.config.elements.index(element)] = energy
