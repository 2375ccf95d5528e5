"""Gradients of a batch on several ranks, against those of one process."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from ase import Atoms
from ase.build import bulk, molecule

from janus_md.graph import tables
from janus_md.graph.tables import NarrowRows
from janus_md.io import Frame
from janus_md.model import MatRISMoE, preset
from janus_training.batches import Batch
from janus_training.config import (
    BatchConfig,
    LossConfig,
    OptimiserConfig,
    ParallelConfig,
    StressConfig,
    TermConfig,
)
from janus_training.evaluate import predict_frames, with_volumes
from janus_training.graph_store import GraphStore
from janus_training.loss import loss_terms, total_loss
from janus_training.memory import training_bytes
from janus_training.optimizer import build_optimizer
from janus_training.parallel import janus as janus_module
from janus_training.parallel.evaluate import predict_shared
from janus_training.parallel.experts import Transfers
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Mesh, make_mesh
from janus_training.parallel.share import Share, Shares

LOSS = LossConfig(
    energy=TermConfig(weight=1.0, form="l2"),
    forces=TermConfig(weight=2.0, form="l2"),
    stress=StressConfig(weight=3.0, form="l2"),
)
WEIGHTS = {"energy": 1.0, "forces": 2.0, "stress": 3.0, "magmoms": 0.0}
DENSE = {"num_message_experts": 0, "num_feature_experts": 0}


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


def store_of(fields: dict[str, Any]) -> GraphStore:
    found = GraphStore(frames(), ["a"], 4.0, 3.0, 1.0)
    if fields.get("line_blocks") == 0:
        found.layout = NarrowRows.suited(found.atoms_by_neighbours)
    return found


def shares_of(store: GraphStore, mesh: Mesh, divide: bool) -> Shares:
    return Shares(store, mesh, lambda sizes: np.full(len(sizes), divide) & (sizes[:, 0] > 4))


def slopes(janus: Janus, share: Share) -> float:
    """Gradients of one batch; the loss of this rank."""
    batch = share.batch
    janus.model.zero_grad(set_to_none=True)
    whole = replace(share, batch=replace(batch, graphs=with_volumes(batch.graphs)))
    prediction = janus.predict(whole, stress=True)
    terms = loss_terms(LOSS, WEIGHTS, prediction, batch.targets, batch.members)
    loss = total_loss(terms, WEIGHTS, prediction)
    janus.backward(loss)
    return float(loss.detach())


def differences_in_layouts(
    dtype: str, fields: dict[str, Any], layouts: dict[str, tuple[int, bool, dict[str, Any]]],
    chosen: list[int], steps: int = 0, method: str = "muon",
) -> dict[str, dict[str, float]]:  # fmt: skip
    """For each layout (unit, whether to divide graphs, configuration): how far gradients are from those of one process.

    Of each parameter the largest difference over its largest entry, of loss and norm the relative one; with ``steps``
    also of the weights after so many steps of the optimiser.
    """
    torch.use_deterministic_algorithms(True)
    store = store_of(fields)
    model = new_model(getattr(torch, dtype), fields)
    alone = Janus(copy.deepcopy(model), Mesh(), ParallelConfig())
    batch = shares_of(store, Mesh(), False)(chosen)
    loss, optimizer = slopes(alone, batch), _optimizer(alone, method)
    norm = float(alone.clip(1e9))
    expected = {name: _copy(value.grad) for name, value in alone.model.named_parameters()}
    weights = _after(alone, batch, optimizer, steps)
    found = {}
    for layout, (unit, divide, parallel) in layouts.items():
        mesh = make_mesh(unit)
        config = ParallelConfig(unit=unit, **parallel)
        janus = Janus(copy.deepcopy(model), mesh, config)
        share = shares_of(store, mesh, divide)(chosen)
        (own,) = mesh.total([slopes(janus, share)])
        differences = {
            name: _difference(value.grad, expected[name], janus.rows.get(name))
            for name, value in janus.model.named_parameters()
            if value.numel()
        }
        differences["loss"] = abs(own - loss) / abs(loss)
        differences["norm"] = abs(float(janus.clip(1e9)) - norm) / norm
        for name, value in _after(janus, share, _optimizer(janus, method), steps).items():
            differences[f"after {name}"] = _difference(value, weights[name], janus.rows.get(name))
        found[layout] = differences
    return found


def _optimizer(janus: Janus, method: str) -> torch.optim.Optimizer:
    return build_optimizer(janus.model, OptimiserConfig(lr=1e-3, method=method), 4.0)


def _after(
    janus: Janus, share: Share, optimizer: torch.optim.Optimizer, steps: int
) -> dict[str, torch.Tensor]:
    """What this rank holds of the weights after so many steps on one batch; nothing where there are none."""
    for _ in range(steps):
        slopes(janus, share)
        optimizer.step()
    named = janus.model.named_parameters() if steps else []
    return {name: value.detach().clone() for name, value in named if value.numel()}


def _copy(gradient: torch.Tensor | None) -> torch.Tensor | None:
    return None if gradient is None else gradient.clone()


def _difference(
    value: torch.Tensor | None, expected: torch.Tensor | None, rows: tuple[int, int] | None
) -> float:
    """Largest, over the largest entry of what is expected, of the rows that are held."""
    if value is None or expected is None:
        assert value is expected
        return 0.0
    scale = expected.abs().max().clamp(min=1e-12)
    held = expected if rows is None else expected[rows[0] : rows[1]]
    return float((value - held).abs().max() / scale) if held.numel() else 0.0


WAYS = {"tokens": Transfers(0, 1), "weights": Transfers(1, 0)}
"""What an exchange would have to cost for experts to be asked in either way."""


def differences_by_way(
    fields: dict[str, Any], chosen: list[int], smallest: int = 32
) -> dict[str, float]:
    """Gradients where experts move and where all tokens do; worst parameter of each layout.

    smallest: rows of a table; few make several tables, on some ranks more than on others.
    """
    layouts = {
        "whole": (4, False, {}), "recomputed": (4, False, {"recompute": True}),
        "restored": (2, False, {"regather": True}), "divided": (4, True, {}),
        "experts alone": (2, True, {"shard_parameters": False}),
    }  # fmt: skip
    found = {}
    for way, transfers in WAYS.items():
        with (
            patch.object(janus_module, "transfers", lambda *_, cost=transfers: cost),
            patch.object(tables, "SMALLEST_BUCKET", smallest),
        ):
            worst = differences_in_layouts("float64", fields, layouts, chosen)
            found |= {f"{way}, {name}": max(values.values()) for name, values in worst.items()}
            janus, share = _in_one_unit(fields, {}, chosen)
            slopes(janus, share)
        if smallest == 2 and len(chosen) > 1:
            assert share.tokens.atoms.shape[1] > 1
            assert (share.tokens.atoms.sum(axis=2) == 0).any(), "no rank has an empty table"
        assert all(plan.moves.by_tokens == (way == "tokens") for plan in janus.plans)
    return found


def bytes_of_ways(fields: dict[str, Any]) -> dict[str, list[float]]:
    """What a step sends for experts, by policy: where tokens move, where weights do, and where a plan decides."""
    found: dict[str, list[float]] = {}
    for policy in ("kept", "recompute", "regather"):
        config = {} if policy == "kept" else {policy: True}
        for cost in (*WAYS.values(), None):
            known = patch.object(janus_module, "transfers", lambda *_, cost=cost: cost)
            with known if cost else nullcontext():
                janus, share = _in_one_unit(fields, config, [0, 1, 2, 3])
                janus.mesh.ledger.close()
                slopes(janus, share)
            sent = janus.mesh.ledger.close()["bytes"]
            of_experts = [b for name, b in sent.items() if name.endswith(("/experts", "/tokens"))]
            found.setdefault(policy, []).append(sum(of_experts))
    return found


def recomputed_by_either() -> tuple[int, bool]:
    """Edges of this rank, and whether it recomputes, where only the larger share is beyond the budget; tokens move."""
    janus, share = _in_one_unit({}, {}, [0, 3])
    edges = share.tokens.edges.sum(axis=(1, 2))
    budget = training_bytes(janus.model, int(edges.sum()) // 2) / 1e9
    cost = WAYS["tokens"]
    with patch.object(janus_module, "transfers", lambda *_: cost):
        janus, share = _in_one_unit({}, {}, [0, 3], budget)
        slopes(janus, share)
    assert janus._blocks is not None
    return int(edges[janus.mesh.unit.place]), janus._blocks.policies[0].recompute


def validated(structures: int) -> tuple[list[int], bool]:
    """Structures of each batch that this rank predicts; whether the results, with their energies, are of its frames."""
    store = store_of({})
    janus = Janus(new_model(torch.float64, {}), make_mesh(1), ParallelConfig())
    expected = [result.energy for result in predict_frames(janus.model, store)]
    sizes, batch = [], store.batch

    def watched(indices: list[int], *layout: Any) -> Batch:
        sizes.append(len(indices))
        return batch(indices, *layout)

    with patch.object(store, "batch", watched):
        results = predict_shared(janus, store, BatchConfig(structures=structures))
    np.testing.assert_allclose([result.energy for result in results], expected, rtol=1e-10)
    own = [result.frame is frame for result, frame in zip(results, store.frames, strict=True)]
    return sizes, all(own)


def _in_one_unit(
    fields: dict[str, Any], parallel: dict[str, Any], chosen: list[int], memory: float | None = None
) -> tuple[Janus, Share]:
    """A model in one unit of all ranks, and this rank's share. memory: GB."""
    mesh = make_mesh(dist.get_world_size())
    config = ParallelConfig(unit=mesh.unit.size, **parallel)
    store = store_of(fields)
    share = shares_of(store, mesh, False)(chosen)
    return Janus(new_model(torch.float64, fields), mesh, config, memory), share
