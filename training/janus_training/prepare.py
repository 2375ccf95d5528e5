"""What a run needs before its first step: the whole configuration, graphs in batches, a model at the data's scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from janus_md.errors import UserError
from janus_md.graph.tables import Layout, NarrowRows, keep_together, suited_to
from janus_md.io import Frame
from janus_md.io.frames import LABELS
from janus_md.io.unread_labels import unread_labels
from janus_md.model import MatRISMoE
from janus_training.beginning import started_section
from janus_training.config import Config, LossConfig
from janus_training.data import Frames, check_elements
from janus_training.graph_store import GraphStore
from janus_training.model_section import resolve_model
from janus_training.parallel.mesh import Mesh
from janus_training.references import References, reference_energies, spread_beyond
from janus_training.sampler import BudgetSampler

SMALLEST_FORCE = 1e-3
"""eV/Å. Training forces that are smaller are those of symmetry or of a minimum, and say nothing of the scale."""

SMALLEST_SCALE = 1e-6
"""eV. Below it is rounding."""


@dataclass(frozen=True)
class Data:
    """Frames with their graphs, and the order in which training takes them."""

    frames: Frames
    train: GraphStore
    valid: GraphStore
    sampler: BudgetSampler


def filled_in(config: Config, frames: Frames) -> Config:
    """The configuration with every field of the model, as it is written beside the results."""
    section = config.model
    if config.start is not None:
        section = started_section(config, frames.elements)
    model = resolve_model(section, frames.elements, frames.tasks)
    check_elements([*frames.train, *frames.valid], model.elements)
    if config.start is not None and frames.isolated:
        raise UserError(
            "data.sets: isolated_atoms cannot be used with start.run, whose model has reference energies of its own; "
            "leave isolated_atoms out"
        )
    missing = set(frames.tasks) - set(model.tasks)
    if missing:
        raise UserError(f"model.tasks lacks '{min(missing)}', a task of the data; add it")
    if config.loss.magmoms.weight and not model.magmoms:
        raise UserError("loss.magmoms has a weight but model.magmoms is false; set it to true")
    _refuse_unlabelled(config.loss, frames)
    # In full, so that the run can be taken up, or repeated, from another folder.
    data = config.data.model_copy(update={"root": str(Path(config.data.root).resolve())})
    changes = {"model": model.model_dump(mode="json"), "data": data}
    if config.start is not None:
        run = str(Path(config.start.run).absolute())
        changes["start"] = config.start.model_copy(update={"run": run})
    return config.model_copy(update=changes)


def _refuse_unlabelled(loss: LossConfig, frames: Frames) -> None:
    """A term with a weight that no frame has a label for would train nothing without a word."""
    for name in LABELS:
        if getattr(loss, name).weight and all(getattr(f, name) is None for f in frames.train):
            held = ((frame.where, unread_labels(frame).get(name)) for frame in frames.train)
            where, key = next((one for one in held if one[1]), ("", None))
            seen = f" ({where} has {key})" if key else ""
            raise UserError(
                f"loss.{name} has a weight but no training frame has such a label; say with data.sets.keys where the "
                f"label is{seen}, or set loss.{name}.weight=0"
            )


def prepare(config: Config, frames: Frames, device: torch.device, mesh: Mesh | None = None) -> Data:
    """Graphs of all frames, counted by the ranks of ``mesh`` together, and batches to suit ``device``.

    Raises ``UserError`` where a graph cannot be built or is beyond the budget.
    """
    model = config.model
    cutoffs = model["cutoff"], model["line_cutoff"]
    # What may be kept is shared by numbers of atoms, which graphs grow with.
    atoms = [sum(len(frame.atoms) for frame in members) for members in (frames.train, frames.valid)]
    train, valid = (
        GraphStore(
            members, model["tasks"], *cutoffs, config.data.graph_memory * count / sum(atoms), mesh
        )
        for members, count in zip((frames.train, frames.valid), atoms, strict=True)
    )
    train.layout = suited_layout(config, train, device)
    floats_per_edge = resolve_model(model, [], []).floats_per_edge
    train.by_width = valid.layout = suited_to(device, floats_per_edge)
    return Data(frames, train, valid, BudgetSampler(train.costs, config.batch, config.train.seed))


def suited_layout(config: Config, store: GraphStore, device: torch.device) -> Layout:
    """How batches to train on are put into tables: narrow rows where nothing attends to angles, else by width."""
    model = resolve_model(config.model, [], [])
    if not model.num_line_blocks:
        return NarrowRows.suited(store.atoms_by_neighbours)
    return keep_together if config.train.compile else suited_to(device, model.floats_per_edge)


def new_model(config: Config, data: Data) -> MatRISMoE:
    """Random weights, reference energies and scales of the training frames."""
    frames, store = data.frames, data.train
    torch.manual_seed(config.train.seed)
    model = MatRISMoE(resolve_model(config.model, [], [])).to(getattr(torch, config.train.dtype))
    references = reference_energies(frames.train, model.config.elements, frames.isolated)
    atoms, edges, _ = store.costs.sum(axis=0)
    model.set_statistics(
        references,
        energy_scale=energy_scale(frames.train, references),
        mean_neighbours=float(edges / atoms),
        mean_line_neighbours=float(store.line_edges / atoms),
    )
    return model


def energy_scale(frames: Sequence[Frame], references: References) -> float:
    """eV: root mean square of a force component times 1 Å, or 1 without force labels.

    Where forces vanish, as in an equation of state of a cubic crystal, the spread of the energies per
    atom beyond ``references`` if that is larger; where both do, 1.
    """
    forces = [frame.forces.ravel() for frame in frames if frame.forces is not None]
    if not forces:
        return 1.0
    scale = float(np.sqrt(np.square(np.concatenate(forces)).mean()))
    if scale < SMALLEST_FORCE:
        scale = max(scale, spread_beyond(frames, references))
    return scale if scale > SMALLEST_SCALE else 1.0
