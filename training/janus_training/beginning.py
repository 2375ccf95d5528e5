"""What a run begins with that another run has learnt: the recipe's part ``start``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from janus_md.calculators.source import checkpoint_folder
from janus_md.errors import UserError, nearest
from janus_md.io import Frame
from janus_md.model import MatRISMoE, ModelConfig, load_model
from janus_md.model.checkpoint import load_description
from janus_training.batches import GraphStore
from janus_training.config import Config, StartConfig
from janus_training.evaluate import by_task, predict_frames
from janus_training.model_section import resolve_model
from janus_training.references import References, fit_references

SAMPLE = 1000
"""Frames of a task from which the shift of its energies is fitted, at most."""

GRAPH_MEMORY = 1.0


def started_section(config: Config) -> dict[str, Any]:
    """The ``model`` section of a run that goes on from ``config.start``: that model's fields, but for its tasks.

    Raises:
        UserError: there is no such model, or the recipe asks for another architecture.
    """
    assert config.start is not None
    if config.model.keys() >= ModelConfig.model_fields.keys():
        return config.model  # as a run wrote it, which may go on where that other one is gone
    start = _described(config.start)
    given = config.model if "model" in config.model_fields_set else {}
    if "preset" in given:
        given = resolve_model(given, start.elements, []).model_dump(mode="json", exclude={"tasks"})
    _refuse_another(start, given, config.start)
    return {**start.model_dump(mode="json", exclude={"tasks"}), **given}


def continued_model(config: Config, references: References) -> MatRISMoE:
    """The model of ``config.start`` for the tasks of ``config.model``, with such reference energies.

    A task that it has keeps its embedding, a new one takes that of ``start.task``. Everything else is as it was, the
    scales among it.
    """
    model = _with_tasks(config)
    model.set_references(references)
    return model


def shifted_references(config: Config, frames: Sequence[Frame]) -> References:
    """Reference energies at which the model of ``config.start`` fits the energies of ``frames``.

    Another code or functional has other energies of atoms, by thousands of eV where it counts core electrons, and no
    training of weights would make that up. An element that a task does not show is shifted by the task's mean.
    """
    model = _with_tasks(config)
    elements, tasks = model.config.elements, model.config.tasks
    chosen = [frame for task in tasks for frame in _sample(frames, task)]
    store = GraphStore(chosen, tasks, model.config.cutoff, model.config.line_cutoff, GRAPH_MEMORY)
    rest = {
        task: [replace(r.frame, energy=r.frame.energy - r.energy) for r in results]  # type: ignore[operator]
        for task, results in by_task(predict_frames(model.eval(), store)).items()
    }
    table = model.heads["energy"].references.table
    return {
        (task, element): float(table[row, column]) + shift
        for row, task in enumerate(tasks)
        for column, (element, shift) in enumerate(
            fit_references(rest.get(task, []), elements, {}).items()
        )
    }


def _with_tasks(config: Config) -> MatRISMoE:
    """Reference energies of new tasks are those of ``start.task``, too."""
    assert config.start is not None
    wanted = resolve_model(config.model, [], [])
    _refuse_another(_described(config.start), config.model, config.start)
    model = load_model(checkpoint_folder(config.start.run))
    origins = [_origin(task, model.config, config.start) for task in wanted.tasks]
    embedding, references = model.embedding, model.heads["energy"].references
    embedding.task = nn.Embedding.from_pretrained(embedding.task.weight[origins], freeze=False)
    references.table = references.table[origins]
    model.config = wanted
    return model.to(getattr(torch, config.train.dtype))


def _described(start: StartConfig) -> ModelConfig:
    return load_description(checkpoint_folder(start.run))


def _refuse_another(start: ModelConfig, given: dict[str, Any], named: StartConfig) -> None:
    held = start.model_dump(mode="json")
    for key, value in given.items():
        if key in held and key != "tasks" and value != held[key]:
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
            f"it has {', '.join(config.tasks)}"
        )
    return config.tasks.index(name)


def _sample(frames: Sequence[Frame], task: str) -> list[Frame]:
    """Frames of ``task`` that have an energy, spread over all of them."""
    labelled = [frame for frame in frames if frame.task == task and frame.energy is not None]
    step = -(-len(labelled) // SAMPLE) or 1
    return labelled[::step]
