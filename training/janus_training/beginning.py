"""What a run begins with that another run has learnt: the recipe's part ``start``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from janus_md.errors import UserError, nearest
from janus_md.io import Frame
from janus_md.model import MatRISMoE, ModelConfig, load_model, predict
from janus_md.model.checkpoint import load_description
from janus_md.run_folder import checkpoint_folder
from janus_training.config import Config, StartConfig
from janus_training.evaluate import BUDGET, batches_within
from janus_training.graph_store import GraphStore
from janus_training.model_section import resolve_model
from janus_training.references import References, fit_references

SAMPLE = 1000
"""Frames of a task from which the shift of its energies is fitted, at most."""

REFERENCES = "heads.energy.references.table"

BY_TASK = "embedding.task.weight", REFERENCES
"""Tensors with a row for each task."""

BY_ELEMENT = {
    "embedding.element.weight": 0, "embedding.composition.weight": 1, "geometry.reduced.radii": 0, REFERENCES: 1,
    "router.table": 0,
}  # fmt: skip
"""Ends of the names of tensors with an entry for each element, and along which dimension."""


def started_section(config: Config, elements: list[str]) -> dict[str, Any]:
    """The ``model`` section of a run that goes on from ``config.start``: the fields of that model, but for its tasks.

    Its elements are joined by ``elements``, those of the data, unless the recipe names all.

    Raises:
        UserError: there is no such model, or the recipe asks for another architecture.
    """
    assert config.start is not None
    if config.model.keys() >= ModelConfig.model_fields.keys():
        return config.model  # as a run wrote it, which may go on where that other one is gone
    start = load_description(checkpoint_folder(config.start.run))
    given = config.model if "model" in config.model_fields_set else {}
    asked = given
    if "preset" in given:
        asked = resolve_model(given, start.elements, []).model_dump(mode="json")
    _refuse_another(start, asked, config.start)
    section = start.model_dump(mode="json", exclude={"tasks"})
    section["elements"] = list({*start.elements, *elements})
    return section | {name: value for name, value in given.items() if name != "preset"}


def continued_model(config: Config, references: References) -> MatRISMoE:
    """The model of ``config.start`` for the tasks of ``config.model``, with such reference energies.

    A task that it has keeps its embedding, a new one takes that of ``start.task``; a new element begins as in a new
    model. Everything else is as it was, the scales among it.
    """
    model = taken_over(config)
    model.set_references(references)
    return model


def shifted_references(config: Config, store: GraphStore) -> References:
    """Reference energies at which the model of ``config.start`` fits the energies of ``store``.

    Another code or functional has other energies of atoms, by thousands of eV where it counts core electrons, and no
    training of weights would make that up. An element that a task does not show is shifted by the task's mean.
    """
    model = taken_over(config).eval()
    table = model.heads["energy"].references.table
    found: References = {}
    for row, task in enumerate(model.config.tasks):
        rest = _residuals(model, store, _sample(store.frames, task))
        shifts = fit_references(rest, model.config.elements, {})
        for column, (element, shift) in enumerate(shifts.items()):
            found[task, element] = float(table[row, column]) + shift
    return found


def _residuals(model: MatRISMoE, store: GraphStore, chosen: NDArray[np.int64]) -> list[Frame]:
    """The chosen frames with what ``model`` leaves of their energies in place of these."""
    left = []
    for indices in batches_within(store, BUDGET, chosen):
        energies = predict(model, store.batch(indices).graphs, forces=False).energy
        for index, energy in zip(indices, energies.tolist(), strict=True):
            frame = store.frames[index]
            assert frame.energy is not None
            left.append(replace(frame, energy=frame.energy - energy))
    return left


def taken_over(config: Config) -> MatRISMoE:
    """A new model with the weights of ``config.start`` for all that one knows.

    Rows of a new task, its reference energies among them, are those of ``start.task``.
    """
    assert config.start is not None
    wanted = resolve_model(config.model, [], [])
    start = load_model(checkpoint_folder(config.start.run))
    _refuse_another(start.config, config.model, config.start)
    tasks = [_origin(task, start.config, config.start) for task in wanted.tasks]
    known = torch.tensor([wanted.elements.index(symbol) for symbol in start.config.elements])
    torch.manual_seed(config.train.seed)
    model = MatRISMoE(wanted).to(getattr(torch, config.train.dtype))
    state = model.state_dict()
    for name, old in start.state_dict().items():
        new, rows = state[name], old[tasks] if name in BY_TASK else old
        if name == REFERENCES:
            new.copy_(rows.mean(dim=1, keepdim=True).expand_as(new))
        places = [place for end, place in BY_ELEMENT.items() if name.endswith(end)]
        if places:
            new.index_copy_(places[0], known, rows.to(new.dtype))
        else:
            new.copy_(rows)
    return model


def _refuse_another(start: ModelConfig, given: dict[str, Any], named: StartConfig) -> None:
    held = start.model_dump(mode="json")
    lost = set(start.elements) - set(given.get("elements", start.elements))
    if lost:
        raise UserError(
            f"model.elements lacks {min(lost)}, which {named.run} knows; add it there or leave model.elements out"
        )
    for key, value in given.items():
        if key in held and key not in ("elements", "tasks") and value != held[key]:
            raise UserError(
                f"model.{key} is not what {named.run}, which start.run names, was made with; leave the section 'model' "
                "out of the recipe (--set model={}), or start.run"
            )


def _origin(task: str, config: ModelConfig, start: StartConfig) -> int:
    """The row of the model to go on from that ``task`` begins as."""
    if task in config.tasks:
        return config.tasks.index(task)
    if start.task is None and len(config.tasks) > 1:
        raise UserError(
            f"{start.run} has the tasks {', '.join(config.tasks)} but not '{task}'; "
            "say with start.task which of them it begins as"
        )
    name = start.task or config.tasks[0]
    if name not in config.tasks:
        raise UserError(
            f"start.task '{name}' is no task of {start.run}{nearest(name, config.tasks)}; "
            "give the one that it begins as"
        )
    return config.tasks.index(name)


def _sample(frames: Sequence[Frame], task: str) -> NDArray[np.int64]:
    """Indices of frames of ``task`` that have an energy, spread over all of them."""
    labelled = [
        n for n, frame in enumerate(frames) if frame.task == task and frame.energy is not None
    ]
    step = -(-len(labelled) // SAMPLE) or 1
    return np.array(labelled[::step], dtype=np.int64)
