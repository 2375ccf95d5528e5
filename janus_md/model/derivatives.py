"""Energy, forces, stress, per-atom virials from one gradient with respect to the edge vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from janus_md.errors import UserError
from janus_md.graph import GraphBatch
from janus_md.graph.batch import NUMBERS
from janus_md.model.engine import Engine, Inputs, PlainDerivatives
from janus_md.model.matris import MatRISMoE
from janus_md.model.recompute import RecomputingDerivatives, activations

KEPT = 320 * 1024**2
"""Bytes that an evaluation may keep for its backward pass on a CPU; blocks beyond that are computed again."""

KEPT_OF_GPU = 0.25
"""The same, as a share of a GPU's memory."""


@dataclass(frozen=True)
class Prediction:
    """Results of a batch; per-atom rows are in the order of the input atoms, float64 but for magmoms.

    Attributes:
        energy: eV, [B]. energies: eV, [N].
        forces: eV/Å, [N, 3]. stress: eV/Å³, ASE's sign, [B, 3, 3]. None where not asked for.
        virials: eV, −r⊗∂E/∂r of each edge shared between its ends, [N, 3, 3]; comes with the stress.
            Rows of ghosts follow in both: what the batch's atoms do to them.
        magmoms: μ_B, [N], or None where the model has no such head.
    """

    energy: Tensor
    energies: Tensor
    forces: Tensor | None
    stress: Tensor | None
    virials: Tensor | None
    magmoms: Tensor | None


def species_of(numbers: Tensor, known: list[int]) -> Tensor:
    """Index of each atomic number in ``known``; both on the CPU.

    Raises:
        UserError: an element is not in ``known``.
    """
    table = torch.full((NUMBERS,), -1)
    table[torch.tensor(known)] = torch.arange(len(known))
    species = table[numbers]
    if len(species) and int(species.min()) < 0:
        from ase.data import chemical_symbols

        missing = chemical_symbols[int(numbers[species < 0][0])]
        has = ", ".join(chemical_symbols[number] for number in known)
        raise UserError(f"the model does not know the element {missing}: it was made for {has}")
    return species


def predict(
    model: MatRISMoE | torch.jit.ScriptModule,
    batch: GraphBatch,
    forces: bool = True,
    stress: bool = False,
    training: bool = False,
    engine: Engine | None = None,
) -> Prediction:
    """Evaluate a model, in training or exported form, on a batch.

    Args:
        training: keep the graph, so that a loss of any of the results can be differentiated.
        engine: what differentiates; None runs the model operation by operation, or where an evaluation would need
            much memory for that, block by block.

    Raises:
        UserError: an element the model lacks; stress asked of a graph that is not fully periodic.
    """
    if stress and bool((batch.volume <= 0).any()):
        raise UserError("stress was asked of a structure that is not periodic in three directions")
    inputs = _inputs(model, batch, differentiated=forces or stress)
    gradients: list[Tensor] = []
    # An exported model's shapes change from call to call, so specialising on them would only cost time.
    plain = torch.jit.optimized_execution(False)
    with torch.set_grad_enabled(training), plain:
        if forces or stress:
            engine = engine or _engine(model, batch, training)
            rows, features, gradients = engine(inputs)
        else:
            rows, features = model(*inputs)
        moments = model.magmoms(features)
        if not training:
            rows, moments = rows.detach(), moments.detach()
        virials = virials_from(gradients, batch) if stress else None
        own, place = batch.graph[: batch.num_atoms], _places(batch)
        return Prediction(
            energy=rows.new_zeros(batch.num_graphs).index_add(0, own, rows),
            energies=rows[place[: len(rows)]],
            forces=forces_from(gradients, batch)[place] if forces else None,
            stress=None if virials is None else stress_from(virials, batch),
            virials=None if virials is None else virials[place],
            # Without such a head there are none for atoms that are there.
            magmoms=moments[place[: len(rows)]] if len(moments) == len(rows) else None,
        )


def _inputs(
    model: MatRISMoE | torch.jit.ScriptModule, batch: GraphBatch, differentiated: bool
) -> Inputs:
    """``differentiated``: with edge vectors that gradients are taken of."""
    known, device = list(model.atomic_numbers), batch.graph.device
    columns = torch.tensor(known).to(device, non_blocking=True)
    return Inputs(
        species_of(batch.numbers, known).to(device, non_blocking=True),
        batch.graph,
        batch.neighbours,
        batch.owners,
        [vectors.detach().requires_grad_(differentiated) for vectors in batch.vectors],
        batch.line_counts,
        batch.task,
        batch.charge,
        batch.spin,
        batch.composition.index_select(1, columns),
    )


def _engine(model: MatRISMoE | torch.jit.ScriptModule, batch: GraphBatch, training: bool) -> Engine:
    """Operation by operation, or for an evaluation that would keep much block by block."""
    slots = sum(table.numel() for table in batch.neighbours)
    kept = _kept(batch.graph.device)
    if not training and activations(model, slots) > kept:
        return RecomputingDerivatives(model, kept)
    return PlainDerivatives(model)


def _places(batch: GraphBatch) -> Tensor:
    """Row in the batch of each atom of the input, then of the ghosts, which stay where they are; int64 [N_all]."""
    place = torch.arange(len(batch.numbers), device=batch.graph.device)
    place[batch.order] = place[: batch.num_atoms].clone()
    return place


def _kept(device: torch.device) -> float:
    """Bytes that an evaluation may keep on a device."""
    if device.type == "cpu":
        return KEPT
    return KEPT_OF_GPU * torch.cuda.get_device_properties(device).total_memory


def forces_from(gradients: list[Tensor], batch: GraphBatch) -> Tensor:
    """F_i = Σ_j g_ij − Σ_k g_ki with g = ∂E/∂r_ij; atoms and ghosts as in the batch, [N_all, 3]."""
    ends = torch.cat([table.flatten() for table in batch.neighbours])
    pulled = torch.cat([g.reshape(-1, 3) for g in gradients])
    return _sum_by_centre(gradients, batch).index_add(0, ends, pulled, alpha=-1)


def virials_from(gradients: list[Tensor], batch: GraphBatch) -> Tensor:
    """−r_ij ⊗ g_ij, half to each end, symmetrised; atoms and ghosts as in the batch, [N_all, 3, 3]."""
    halves = [
        -0.25 * (v[..., :, None] * g[..., None, :] + g[..., :, None] * v[..., None, :])
        for v, g in zip(batch.vectors, gradients, strict=True)
    ]
    ends = torch.cat([table.flatten() for table in batch.neighbours])
    shared = torch.cat([half.reshape(-1, 3, 3) for half in halves])
    return _sum_by_centre(halves, batch).index_add(0, ends, shared)


def stress_from(virials: Tensor, batch: GraphBatch) -> Tensor:
    """Virials of atoms and ghosts as in the batch, [N_all, 3, 3] → stress, eV/Å³, [B, 3, 3]."""
    total = virials.new_zeros(batch.num_graphs, 3, 3).index_add(0, batch.graph, virials)
    return -total / batch.volume.to(total.device, non_blocking=True)[:, None, None]


def _sum_by_centre(values: list[Tensor], batch: GraphBatch) -> Tensor:
    """[n_b, K_b, ...] of each bucket → [N_all, ...]; zero for ghosts, which have no edges of their own."""
    sums = []
    for value, owners in zip(values, batch.owners, strict=True):
        rows = value.sum(1)
        if len(owners):
            rows = rows.new_zeros(batch.num_atoms, *rows.shape[1:]).index_add(0, owners, rows)
        sums.append(rows)
    ghosts = len(batch.numbers) - batch.num_atoms
    return torch.cat([*sums, sums[0].new_zeros(ghosts, *sums[0].shape[1:])])
