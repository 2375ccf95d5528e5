"""The model as one writes it down first: flat lists of edges and angles, operation by operation.

Same weights and energies as :class:`janus_md.model.MatRISMoE`, none of its rearrangements: features of both atoms and
of the edge are concatenated for every edge, queries and keys are gathered for every angle, outer products of messages
and harmonics are stored, and tokens are sent to experts by masks. The baseline of the speed benchmark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import ase
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from janus_md.graph import build_graph
from janus_md.model import MatRISMoE
from janus_md.model.atom_attention import AtomAttention
from janus_md.model.basis import chebyshev, envelope, harmonics
from janus_md.model.derivatives import species_of
from janus_md.model.experts import ExpertMLP, RoutedExperts
from janus_md.model.line_attention import LineAttention


@dataclass
class FlatGraph:
    """species [N]; centre and neighbour atom of each edge, [E]; its vector, [E, 3]; edges p, q of each angle, [A]."""

    species: Tensor
    centre: Tensor
    neighbour: Tensor
    vectors: Tensor
    first: Tensor
    second: Tensor

    def to(self, device: torch.device) -> FlatGraph:
        """The same graph on another device."""
        return FlatGraph(*(getattr(self, field.name).to(device) for field in fields(self)))


def flat_graph(model: MatRISMoE, structures: list[ase.Atoms]) -> FlatGraph:
    """Graphs side by side; an angle is an ordered pair of line-graph edges of one atom, also of an edge and itself."""
    parts: list[list[np.ndarray]] = [[], [], [], [], [], []]
    atoms = edges = 0
    for structure in structures:
        graph = build_graph(structure, model.config.cutoff, model.config.line_cutoff)
        parts[0].append(graph.numbers)
        parts[1].append(graph.centres + atoms)
        parts[2].append(graph.neighbours + atoms)
        parts[3].append(graph.vectors)
        for start, count in zip(graph.offsets[:-1] + edges, graph.num_line, strict=True):
            own = np.arange(start, start + count)
            parts[4].append(np.repeat(own, count))
            parts[5].append(np.tile(own, count))
        atoms, edges = atoms + graph.num_atoms, edges + graph.num_edges
    numbers, *rest = (torch.from_numpy(np.concatenate(part)) for part in parts)
    return FlatGraph(species_of(numbers, model.atomic_numbers), *rest)


def energy(model: MatRISMoE, graph: FlatGraph, vectors: Tensor) -> Tensor:
    """Total energy of all structures, eV; one task, no charge, spin or composition."""
    config = model.config
    count = len(graph.species)
    device = vectors.device
    zero = torch.zeros(count, dtype=torch.int64, device=device)
    one = torch.zeros(1, device=device)
    composition = torch.zeros(1, len(config.elements), device=device)
    atoms = model.embedding(graph.species, zero, zero[:1], one, one, composition)
    vectors = vectors.to(atoms.dtype)
    lengths = vectors.norm(dim=-1)
    unit = vectors / lengths.unsqueeze(-1)
    basis = model.geometry.radial(lengths)
    if config.num_reduced:
        pairs = graph.species[graph.centre], graph.species[graph.neighbour].unsqueeze(1)
        reduced = model.geometry.reduced(lengths.unsqueeze(1), *pairs).squeeze(1)
        basis = torch.cat([basis, reduced], dim=-1)
    radial = basis * envelope(lengths, config.cutoff).unsqueeze(-1)
    decay = envelope(lengths, config.line_cutoff)
    line_radial = model.geometry.line_radial(lengths) * decay.unsqueeze(-1)
    cosines = (unit[graph.first] * unit[graph.second]).sum(-1)
    angles = chebyshev(cosines, config.num_angular).t()
    edges = model.geometry.edge_embedding(basis)
    for block in model.blocks:
        if block.has_line:
            edges = edges + _line(block.line, graph, edges, line_radial, decay, angles)
        change, messages = _atoms(block.attention, graph, atoms, edges, radial, harmonics(unit))
        atoms = atoms + change
        atoms = atoms + _experts(block.experts, block.norm(atoms), graph.species)
        if block.updates_edges:
            edges = edges + block.edge_update(messages)
    return model.finish(atoms, graph.species, zero, zero[:1]).sum()


def energy_and_gradient(
    model: MatRISMoE, graph: FlatGraph, training: bool
) -> tuple[Tensor, Tensor]:
    """Total energy and ∂E/∂r_ij, [E, 3], which can be differentiated again when training."""
    vectors = graph.vectors.detach().requires_grad_()
    total = energy(model, graph, vectors)
    (gradient,) = torch.autograd.grad(total, vectors, create_graph=training)
    return total, gradient


def _line(
    line: LineAttention,
    graph: FlatGraph,
    edges: Tensor,
    radial: Tensor,
    decay: Tensor,
    angles: Tensor,
) -> Tensor:
    p, q = graph.first, graph.second
    heads = line.angular.shape[0] // 2
    query, key, value = torch.split(line.project(line.norm(edges)), line.split, dim=-1)
    value = value * line.filter(radial)
    series = angles @ line.angular.t()
    bias, factor = series[:, :heads], series[:, heads:]
    products = (query[p] * key[q]).view(len(p), heads, -1).sum(-1) / math.sqrt(line.key_width)
    weights = torch.sigmoid(products + bias) * decay[q].unsqueeze(-1) * factor
    sent = weights.unsqueeze(-1) * value[q].view(len(q), heads, -1)
    summed = torch.zeros_like(value).index_add(0, p, sent.flatten(1))
    return line.out(summed) * (line.scale * decay.unsqueeze(-1))


def _atoms(
    attention: AtomAttention,
    graph: FlatGraph,
    atoms: Tensor,
    edges: Tensor,
    radial: Tensor,
    directions: Tensor,
) -> tuple[Tensor, Tensor]:
    i, j = graph.centre, graph.neighbour
    width, heads = edges.shape[1], attention.heads
    normed = attention.atom_norm(atoms)
    joined = torch.cat([normed[i], normed[j], attention.edge_norm(edges)], dim=-1)
    own, other = attention.to_centre, attention.to_neighbours
    weight = torch.cat(
        [
            own.weight[:width],
            other.weight,
            torch.eye(width, dtype=atoms.dtype, device=atoms.device),
        ],
        dim=1,
    )
    tokens = F.linear(joined, weight, own.bias[:width] + other.bias)
    queries = F.linear(normed[i], own.weight[width:], own.bias[width:])
    messages = _experts(attention.experts, tokens, graph.species[i]) * attention.filter(radial)
    products = (queries * attention.keys(tokens)).view(len(i), heads, -1).sum(-1)
    weights = torch.sigmoid(products / math.sqrt(attention.key_width))
    weighted = (messages.view(len(i), heads, -1) * weights.unsqueeze(-1)).flatten(1)
    outer = directions.unsqueeze(-1) * weighted.unsqueeze(1)
    moments = outer.new_zeros(len(atoms), *outer.shape[1:]).index_add(0, i, outer)
    change = attention.out(attention.invariants(moments * attention.scale))
    return change, weighted


def _experts(experts: ExpertMLP, x: Tensor, species: Tensor) -> Tensor:
    """Each expert on the tokens that a mask picks out."""
    parts = []
    if experts.shared is not None:
        for w1, w2 in zip(experts.shared.w1, experts.shared.w2, strict=True):
            parts.append(F.silu(x @ w1) @ w2)
    if experts.routed is not None:
        parts.append(_routed(experts.routed, x, species))
    return torch.stack(parts).sum(0)


def _routed(experts: RoutedExperts, x: Tensor, species: Tensor) -> Tensor:
    chosen, gates = experts.router()
    chosen = chosen.to(x.device)
    out = x.new_zeros(len(x), experts.w2.shape[2])
    for expert in range(experts.w1.shape[0]):
        for place in range(chosen.shape[1]):
            mask = chosen[species, place] == expert
            if bool(mask.any()):
                hidden = F.silu(x[mask] @ experts.w1[expert]) @ experts.w2[expert]
                out = out.index_put(
                    (mask,), hidden * gates[species[mask], place].unsqueeze(-1), accumulate=True
                )
    return out
