"""Errors of a model on labelled frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from janus_md.calculators.source import Source, open_source
from janus_md.errors import UserError, nearest
from janus_md.graph import GraphBatch
from janus_md.graph.tables import suited_to
from janus_md.io import Frame, LabelKeys, read_frames
from janus_md.io.frames import LABELS
from janus_md.io.unread_labels import as_keys, unread_labels
from janus_md.model import MatRISMoE, Prediction, predict
from janus_md.out_of_memory import within_memory
from janus_training.config import BatchConfig
from janus_training.graph_store import GraphStore
from janus_training.sampler import RESOURCES, pack

BUDGET = BatchConfig(edges=20_000)
GRAPH_MEMORY = 1.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What a model says of a frame: eV, [N, 3] eV/Å, [3, 3] eV/Å³ (where a label asks for it), [N] μ_B if it can."""

    frame: Frame
    energy: float
    forces: Floats
    stress: Floats | None
    magmoms: Floats | None = None


class Errors(TypedDict):
    """Energy meV/atom, forces meV/Å (per component), stress meV/Å³ (per Voigt component), magnetic moments mμ_B."""

    file: str
    task: str
    frames: int
    energy_mae: float | None
    energy_rmse: float | None
    force_mae: float | None
    force_rmse: float | None
    stress_mae: float | None
    stress_rmse: float | None
    magmom_mae: float | None
    magmom_rmse: float | None


def evaluate_files(
    model: str | Path,
    files: Sequence[str | Path],
    task: str | None = None,
    device: str = "auto",
    budget: BatchConfig = BUDGET,
    keys: LabelKeys | None = None,
) -> list[Errors]:
    """Errors per file and task. ``model``: an exported file, a checkpoint or the folder of a run.

    ``task`` is that of all frames; None takes the frames' own (``info["task"]``) or the model's only one.
    ``keys``: where the files keep their labels.
    """
    source = open_source(model, device)
    rows = []
    for file in files:
        frames = read_frames(file, keys=keys)
        _refuse_unlabelled(frames)
        for frame in frames:
            frame.task = _task_of(frame, task, source)
            _refuse_unknown_elements(frame, source)
        store = GraphStore(frames, source.tasks, source.cutoff, source.line_cutoff, GRAPH_MEMORY)
        device = next(source.model.parameters()).device
        store.layout = suited_to(device, source.model.floats_per_edge)
        with within_memory(
            device, f"a batch of {file}", "give --device cpu, or smaller structures"
        ):
            results = predict_frames(source.model, store, budget)
        rows += [errors_of(str(file), name, members) for name, members in by_task(results).items()]
    return rows


def _refuse_unlabelled(frames: Sequence[Frame]) -> None:
    """Raise where nothing is labelled, and the labels are there by other names than those that were looked for."""
    if any(getattr(frame, name) is not None for frame in frames for name in LABELS):
        return
    for frame in frames:
        if found := unread_labels(frame):
            raise UserError(
                f"{frame.where} has {' and '.join(found.values())} but no label: give {as_keys(found)} if that is what "
                "these are"
            )


def predict_frames(
    model: MatRISMoE | torch.jit.ScriptModule, store: GraphStore, budget: BatchConfig = BUDGET
) -> list[Result]:
    """Predictions for all frames of ``store``, in order, on the model's device."""
    device = next(model.parameters()).device
    found: dict[int, Result] = {}
    for indices in batches_within(store, budget):
        batch = store.batch(indices).to(device)
        stress = batch.members["stress"] > 0
        graphs = with_volumes(batch.graphs) if stress else batch.graphs
        results = results_of(
            predict(model, graphs, stress=stress), [store.frames[index] for index in indices]
        )
        found.update(zip(indices.tolist(), results, strict=True))
    return [found[index] for index in range(len(store))]


def results_of(prediction: Prediction, frames: Sequence[Frame]) -> list[Result]:
    """The prediction for a batch, frame by frame; stresses where a frame has one."""
    assert prediction.forces is not None
    sizes = [len(frame.atoms) for frame in frames]
    forces = prediction.forces.detach().cpu().split(sizes)
    moments = None if prediction.magmoms is None else prediction.magmoms.detach().cpu().split(sizes)
    tensors = None if prediction.stress is None else prediction.stress.detach().cpu().numpy()
    return [
        Result(
            frame=frame,
            energy=float(prediction.energy[place]),
            forces=forces[place].numpy(),
            stress=tensors[place] if tensors is not None and frame.stress is not None else None,
            magmoms=None if moments is None else moments[place].double().numpy(),
        )
        for place, frame in enumerate(frames)
    ]


def with_volumes(batch: GraphBatch) -> GraphBatch:
    """The batch with volume 1 where there is none: structures without a stress may share a batch with others.

    Their stress is a number without meaning, which no label is compared with.
    """
    return replace(batch, volume=torch.where(batch.volume > 0, batch.volume, 1.0))


def by_task(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by task, tasks in order of appearance."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.frame.task, []).append(result)
    return groups


def errors_of(file: str, task: str, results: Sequence[Result]) -> Errors:
    """Mean absolute and root mean square errors over what is labelled; None where nothing is."""
    energy_mae, energy_rmse = _mean_errors(energy_differences(results))
    force_mae, force_rmse = _mean_errors(force_differences(results))
    stress_mae, stress_rmse = _mean_errors(stress_differences(results))
    magmom_mae, magmom_rmse = _mean_errors(magmom_differences(results))
    return Errors(
        file=file, task=task, frames=len(results),
        energy_mae=energy_mae, energy_rmse=energy_rmse,
        force_mae=force_mae, force_rmse=force_rmse,
        stress_mae=stress_mae, stress_rmse=stress_rmse,
        magmom_mae=magmom_mae, magmom_rmse=magmom_rmse,
    )  # fmt: skip


def energy_differences(results: Sequence[Result]) -> Floats:
    """eV/atom, one per labelled frame."""
    return np.array(
        [
            (result.energy - result.frame.energy) / len(result.frame.atoms)
            for result in results
            if result.frame.energy is not None
        ]
    )


def force_differences(results: Sequence[Result]) -> Floats:
    """eV/Å, [labelled atoms, 3]."""
    parts = [r.forces - r.frame.forces for r in results if r.frame.forces is not None]
    return np.concatenate(parts) if parts else np.zeros((0, 3))


def stress_differences(results: Sequence[Result]) -> Floats:
    """eV/Å³, [labelled frames, 6]."""
    parts = [
        full_3x3_to_voigt_6_stress(r.stress - r.frame.stress)
        for r in results
        if r.frame.stress is not None and r.stress is not None
    ]
    return np.array(parts).reshape(-1, 6)


def magmom_differences(results: Sequence[Result]) -> Floats:
    """μ_B, [labelled atoms]; a moment is learnt without its sign."""
    parts = [
        r.magmoms - np.abs(r.frame.magmoms)
        for r in results
        if r.frame.magmoms is not None and r.magmoms is not None
    ]
    return np.concatenate([np.zeros(0), *parts])


def _mean_errors(differences: Floats) -> tuple[float | None, float | None]:
    """MAE and RMSE in thousandths of the unit."""
    if not differences.size:
        return None, None
    return (
        1000.0 * float(np.abs(differences).mean()),
        1000.0 * float(np.sqrt(np.square(differences).mean())),
    )


def batches_within(
    store: GraphStore, budget: BatchConfig, chosen: NDArray[np.int64] | None = None
) -> list[NDArray[np.int64]]:
    """Frames, all or those ``chosen``, of similar size together; one beyond the budget has a batch of its own."""
    costs = np.concatenate([np.ones((len(store), 1), dtype=np.int64), store.costs], axis=1)
    given = [getattr(budget, name) for name in RESOURCES]
    limits = np.array([np.iinfo(np.int64).max // 2 if limit is None else limit for limit in given])
    limits = np.maximum(limits, costs.max(axis=0, initial=1))
    if chosen is None:
        chosen = np.arange(len(store))
    return pack(costs, limits, chosen[np.argsort(-store.costs[chosen, 1], kind="stable")])


def _refuse_unknown_elements(frame: Frame, source: Source) -> None:
    missing = [s for s in dict.fromkeys(frame.atoms.symbols) if s not in source.elements]
    if missing:
        raise UserError(
            f"{frame.where} has {', '.join(missing)}, but {source.path} was made for "
            f"{' '.join(source.elements)}: take such frames out, or use a model trained, and exported, with all of them"
        )


def _task_of(frame: Frame, task: str | None, source: Source) -> str:
    name = task or frame.task or (source.tasks[0] if len(source.tasks) == 1 else "")
    if name not in source.tasks:
        hint = nearest(name, source.tasks)
        if task:
            raise UserError(
                f"--task {task}: {source.path} has no such task{hint}; give one of its own"
            )
        raise UserError(
            f"{frame.where}: its task {f'{name!r} is unknown to' if name else 'is not stated for'} "
            f"the model{hint}; say which with --task"
        )
    return name
