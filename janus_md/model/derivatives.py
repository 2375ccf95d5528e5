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
    known, device = list(model.atomic_numbers), batch.graph.device
    species = species_of(batch.numbers, known).to(device, non_blocking=True)
    composition = batch.composition.index_select(
        1, torch.tensor(known).to(device, non_blocking=True)
    )
    derivatives = forces or stress
    vectors = [v.detach().requires_grad_(derivatives) for v in batch.vectors]
    inputs = Inputs(
        species,
        batch.graph,
        batch.neighbours,
        batch.owners,
        vectors,
        batch.line_counts,
        batch.task,
        batch.charge,
        batch.spin,
        composition,
    )
    # An exported model's shapes change from call to call, so specialising on them would only cost time.
    plain = torch.jit.optimized_execution(False)
    with torch.set_grad_enabled(training), plain:
        if derivatives:
            if engine is None:
                slots = sum(table.numel() for table in batch.neighbours)
                kept = _kept(device)
                large = activations(model, slots) > kept and not training
                engine = RecomputingDerivatives(model, kept) if large else PlainDerivatives(model)
            rows, features, gradients = engine(inputs)
        else:
            rows, features = model(*inputs)
        moments = model.magmoms(features)
        back = torch.arange(len(batch.numbers), device=rows.device)
        back[batch.order] = back[: batch.num_atoms].clone()
        owned = batch.graph[: batch.num_atoms]
        energy = rows.new_zeros(batch.num_graphs).index_add(0, owned, rows)
        force_rows = stress_rows = virial_rows = None
        if derivatives:
            force_rows = forces_from(gradients, batch)
            if stress:
                virial_rows = virials_from(gradients, batch)
                total = virial_rows.new_zeros(batch.num_graphs, 3, 3)
                total = total.index_add(0, batch.graph, virial_rows)
                volume = batch.volume.to(device, non_blocking=True)
                stress_rows = -total / volume[:, None, None]

    def in_input_order(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[back[: len(values)]]

    energies = rows[back[: len(rows)]]
    return Prediction(
        energy=energy if training else energy.detach(),
        energies=energies if training else energies.detach(),
        forces=in_input_order(force_rows) if forces else None,
        stress=stress_rows,
        virials=in_input_order(virial_rows),
        magmoms=in_input_order(moments if training else moments.detach())
        if moments.numel() or not len(rows)
        else None,
    )


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
