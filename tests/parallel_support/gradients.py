"""Gradients of a batch on several ranks, against those of one process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from janus_md.graph.batch import NarrowRows
from janus_md.io import Frame
from janus_md.model import MatRISMoE, preset
from janus_training.batches import GraphStore
from janus_training.config import LossConfig, OptimiserConfig, ParallelConfig, TermConfig
from janus_training.evaluate import with_volumes
from janus_training.loss import loss_terms, total_loss
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Mesh, make_mesh
from janus_training.parallel.share import Share, Shares

LOSS = LossConfig(
    energy=TermConfig(weight=1.0, form="l2"),
    forces=TermConfig(weight=2.0, form="l2"),
    stress=TermConfig(weight=3.0, form="l2"),
)
WEIGHTS = {"energy": 1.0, "forces": 2.0, "stress": 3.0, "magmoms": 0.0}
DENSE = {"num_experts": 0, "top_k": 0}


def frames() -> list[Frame]:
    """Uneven graphs: crystals and molecules, of elements that no two of them all share."""
    structures: list[Atoms] = [
        bulk("NaCl", "rocksalt", 5.6, cubic=True) * (2, 1, 1),
        bulk("Si", cubic=True),
        molecule("CH3CH2OH"),
        molecule("H2O"),
    ]
    rng, found = np.random.default_rng(0), []
    for number, atoms in enumerate(structures):
        atoms.rattle(0.1, seed=number)
        stress = rng.normal(size=(3, 3)) * 0.01 if atoms.pbc.all() else None
        found.append(
            Frame(
                atoms,
                -3.0 * len(atoms),
                rng.normal(size=(len(atoms), 3)),
                None if stress is None else stress + stress.T,
                task="a",
            )
        )
    return found


def new_model(dtype: torch.dtype, fields: dict[str, Any]) -> MatRISMoE:
    """A model with every part, the same on each rank."""
    torch.manual_seed(0)
    elements = ["H", "C", "O", "Na", "Si", "Cl"]
    size = {"cutoff": 4.0, "line_cutoff": 3.0, "blocks": 3} | fields
    return MatRISMoE(preset("tiny", elements=elements, tasks=["a"], **size)).to(dtype)


def shares_of(store: GraphStore, mesh: Mesh, divide: bool) -> Shares:
    return Shares(store, mesh, lambda sizes: np.full(len(sizes), divide) & (sizes[:, 0] > 4))


def slopes(janus: Janus, share: Share) -> float:
    """Gradients of one batch; the loss of this rank."""
    batch = share.batch
    janus.model.zero_grad(set_to_none=True)
    whole = replace(share, batch=replace(batch, graphs=with_volumes(batch.graphs)))
    prediction = janus.predict(whole, stress=True)
    loss = total_loss(loss_terms(LOSS, WEIGHTS, prediction, batch.targets, batch.members), WEIGHTS)
    janus.backward(loss)
    return float(loss.detach())


def differences(
    dtype: torch.dtype, fields: dict[str, Any], unit: int, divide: bool, chosen: list[int], steps: int,
    parallel: dict[str, Any],
) -> dict[str, float]:  # fmt: skip
    """Largest difference of each parameter's gradient from that of one process, over its largest entry.

    And of the weights after ``steps`` of the optimiser.
    """
    store = GraphStore(frames(), ["a"], 4.0, 3.0, 1.0)
    if fields.get("line_blocks") == 0:
        store.layout = NarrowRows.suited(store.atoms_by_neighbours)
    torch.use_deterministic_algorithms(True)
    alone = Janus(new_model(dtype, fields), Mesh(), ParallelConfig())
    mesh = make_mesh(unit)
    config = ParallelConfig(unit=unit, **parallel)
    janus = Janus(new_model(dtype, fields), mesh, config)
    share, single = shares_of(store, mesh, divide)(chosen), shares_of(store, Mesh(), False)(chosen)
    total = sum(mesh.everyone(slopes(janus, share)))
    expected = slopes(alone, single)
    assert abs(total - expected) < 1e-4 * abs(expected)
    found = {
        name: _difference(value, name, alone.model, lambda p: p.grad, mesh)
        for name, value in janus.model.named_parameters()
    }
    norms = janus.clip(1e9), alone.clip(1e9)
    found["norm"] = abs(norms[0] - norms[1]) / norms[1]
    if steps:
        optimizers = [
            build_optimizer(j.model, OptimiserConfig(lr=1e-3), 4.0) for j in (janus, alone)
        ]
        for _ in range(steps):
            slopes(janus, share)
            slopes(alone, single)
            for optimizer in optimizers:
                optimizer.step()
        for name, value in janus.model.named_parameters():
            found[f"after {name}"] = _difference(
                value, name, alone.model, lambda p: p.detach(), mesh
            )
    return found


def _difference(value: torch.Tensor, name: str, alone: MatRISMoE, of: Any, mesh: Mesh) -> float:
    """Of what this rank holds of a parameter."""
    expected = alone.get_parameter(name)
    if value.numel() == 0:
        return 0.0
    theirs = of(expected)
    if value.shape != expected.shape:
        counts = [len(expected) * (r + 1) // mesh.unit.size - len(expected) * r // mesh.unit.size
                  for r in range(mesh.unit.size)]  # fmt: skip
        theirs = theirs.split(counts)[mesh.unit.place]
    if theirs is None:
        assert of(value) is None, name
        return 0.0
    scale = of(expected).abs().max().clamp(min=1e-12)
    return float((of(value) - theirs).abs().max() / scale)
