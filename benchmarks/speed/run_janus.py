"""Ours, float32, not compiled.

METHOD is a preset; or ``dense-N``, a dense model with N active parameters; or ``shallow-R-N``, one of one block with a
cutoff of R Å; or settings as JSON.
"""

from __future__ import annotations

import json
from typing import Any

import ase
from matched import active_parameters, matched_config, shallow_config
from timed import main, parameters
from torch import Tensor

from janus_md.export import merge_experts
from janus_md.graph import GraphBatch, batch_graphs, build_graph
from janus_md.model import MatRISMoE, ModelConfig, predict, preset
from janus_md.model.presets import configure


def config(method: str, elements: list[str]) -> ModelConfig:
    if method.startswith("{"):
        return configure(**json.loads(method), elements=elements)
    if method.startswith("dense-"):
        return matched_config(int(method.removeprefix("dense-")), elements)
    if method.startswith("shallow-"):
        _, cutoff, active = method.split("-")
        return shallow_config(int(active), float(cutoff), elements)
    return preset(method, elements=elements)


def settings(method: str) -> dict[str, Any]:
    return config(method, ["O"]).model_dump(exclude={"elements", "tasks"})


def build(method: str, elements: list[str], atoms: ase.Atoms) -> MatRISMoE:
    return MatRISMoE(config(method, elements))


def convert(model: MatRISMoE, atoms: ase.Atoms) -> GraphBatch:
    return batch_graphs([build_graph(atoms, model.config.cutoff, model.config.line_cutoff)])


def evaluate(model: MatRISMoE, batch: GraphBatch, training: bool) -> tuple[Tensor, Tensor]:
    found = predict(model, batch, training=training)
    assert found.forces is not None
    return found.energy.sum(), found.forces


def idle(model: MatRISMoE) -> int:
    return parameters(model) - active_parameters(model.config)


if __name__ == "__main__":
    main(["janus-md", "torch"], settings, build, convert, evaluate, merge_experts, idle)
