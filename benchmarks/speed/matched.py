"""A dense model of ours with as many active parameters as another model."""

from __future__ import annotations

import bisect
import math
from typing import Any

import torch

from janus_md.export import merge_experts
from janus_md.model import MatRISMoE, ModelConfig
from janus_md.model.presets import PRESETS, configure


def active_parameters(config: ModelConfig) -> int:
    """Parameters that the energy of an atom depends on when there is one element: those of the merged model."""
    merged = merge_experts(MatRISMoE(config.model_copy(update={"elements": config.elements[:1]})))
    return sum(weight.numel() for weight in merged.parameters())


def matched_config(active: int, elements: list[str]) -> ModelConfig:
    """A dense model with ``active`` active parameters within a per cent.

    It has the shape of the preset nearer in size, ``10m`` or a dense ``small``; all widths are scaled together, then
    the hidden units of the feature perceptrons make up the rest.
    """
    base = min(_shapes(), key=lambda shape: abs(math.log(_count(shape) / active)))
    step = 2 * base["heads"]
    widths = range(step, 4 * base["width"], step)
    above = bisect.bisect(widths, active, key=lambda width: _count(_scaled(base, width)))
    shape = min(
        (_scaled(base, width) for width in widths[max(above - 1, 0) : above + 1]),
        key=lambda one: abs(math.log(_count(one) / active)),
    )
    return _filled_up(shape, active, elements)


def shallow_config(active: int, cutoff: float, elements: list[str]) -> ModelConfig:
    """The preset ``fast`` with ``active`` active parameters: its feature perceptron makes up the rest."""
    return _filled_up(PRESETS["fast"] | {"cutoff": cutoff}, active, elements)


def _filled_up(shape: dict[str, Any], active: int, elements: list[str]) -> ModelConfig:
    hidden = shape["feature_hidden"]
    each = _count({**shape, "feature_hidden": hidden + 1}) - _count(shape)
    hidden += round((active - _count(shape)) / each)
    return configure(**{**shape, "feature_hidden": hidden}, elements=elements)


def _shapes() -> list[dict[str, Any]]:
    small = dict(PRESETS["small"])
    experts = small["top_k"] + small["num_shared_experts"]
    small |= {key: experts * small[key] for key in ("message_hidden", "feature_hidden")}
    return [
        small | {"num_message_experts": 0, "num_feature_experts": 0, "num_shared_experts": 1},
        PRESETS["10m"],
    ]


def _scaled(base: dict[str, Any], width: int) -> dict[str, Any]:
    keys = ("width", "edge_width", "message_hidden", "feature_hidden", "readout_hidden")
    return base | {key: round(base[key] * width / base["width"]) for key in keys}


def _count(shape: dict[str, Any]) -> int:
    with torch.device("meta"):
        model = MatRISMoE(configure(**shape, elements=["H"]))
    return sum(weight.numel() for weight in model.parameters())
