"""Named sizes of the model."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from janus_md.errors import UserError, nearest
from janus_md.model.config import ModelConfig
from janus_md.validation import explain

PRESETS: dict[str, dict[str, Any]] = {
    # For tests: every part present, milliseconds to run.
    "tiny": {
        "blocks": 2, "width": 16, "edge_width": 16, "heads": 2, "key_width": 4,
        "num_radial": 6, "num_angular": 5, "message_hidden": 16, "feature_hidden": 16, "readout_hidden": 16,
        "num_message_experts": 4, "num_feature_experts": 4, "top_k": 2, "num_shared_experts": 1,
    },
    # About a million active parameters, for a laptop.
    "small": {
        "blocks": 3, "width": 128, "edge_width": 64, "heads": 4, "key_width": 8,
        "message_hidden": 96, "feature_hidden": 192, "readout_hidden": 64,
        "num_message_experts": 8, "num_feature_experts": 8, "top_k": 2, "num_shared_experts": 1,
    },
    # What learns most in minutes and hours from some hundred or thousand frames: dense, and angular moments instead of
    # line attention, which brings less per second there.
    "lean": {
        "blocks": 3, "line_blocks": 0, "width": 64, "edge_width": 64, "heads": 4, "key_width": 8,
        "cutoff": 5.0, "line_cutoff": 4.0, "message_hidden": 96, "feature_hidden": 128, "readout_hidden": 64,
        "num_message_experts": 0, "num_feature_experts": 0, "top_k": 2, "num_shared_experts": 1,
    },
    # For production runs of few elements: one block, so that atoms see one cutoff far.
    "fast": {
        "blocks": 1, "line_blocks": 0, "width": 64, "edge_width": 32, "heads": 4, "key_width": 8,
        "cutoff": 5.0, "line_cutoff": 4.0, "message_hidden": 64, "feature_hidden": 256, "readout_hidden": 64,
    },
    # A dense peer of MatRIS-10M. An edge costs as much as its message's perceptron, so that one is narrow.
    "10m": {
        "blocks": 6, "width": 192, "edge_width": 96, "heads": 8, "key_width": 16, "num_radial": 16,
        "message_hidden": 192, "feature_hidden": 3400, "readout_hidden": 256,
        "num_message_experts": 0, "num_feature_experts": 0, "num_shared_experts": 1,
    },
    # The three sizes of arXiv:2604.15821: total and active parameters within 2 %; widths are not published.
    "moe-s": {
        "blocks": 6, "width": 768, "edge_width": 384, "heads": 12, "key_width": 32, "num_radial": 16,
        "message_hidden": 2304, "feature_hidden": 1728, "readout_hidden": 384,
        "num_message_experts": 32, "num_feature_experts": 32, "top_k": 4, "num_shared_experts": 1,
    },
    "moe-m": {
        "blocks": 6, "width": 1536, "edge_width": 768, "heads": 16, "key_width": 32, "num_radial": 16,
        "message_hidden": 1280, "feature_hidden": 1664, "readout_hidden": 768,
        "num_message_experts": 48, "num_feature_experts": 48, "top_k": 8, "num_shared_experts": 1,
    },
    "moe-l": {
        "blocks": 6, "width": 2560, "edge_width": 1024, "heads": 16, "key_width": 64, "num_radial": 16,
        "message_hidden": 2176, "feature_hidden": 3456, "readout_hidden": 1280,
        "num_message_experts": 72, "num_feature_experts": 72, "top_k": 16, "num_shared_experts": 1,
    },
}  # fmt: skip


def preset(name: str, /, **overrides: Any) -> ModelConfig:
    """The configuration called ``name`` with some fields replaced.

    Raises:
        UserError: no such preset or field, or values that do not go together.
    """
    if name not in PRESETS:
        raise UserError(
            f"there is no model preset {name!r}{nearest(name, PRESETS)}; give the name of one that exists"
        )
    return configure(**{**PRESETS[name], **overrides})


def configure(**fields: Any) -> ModelConfig:
    """The configuration with these fields.

    Raises:
        UserError: no such field, or values that do not go together.
    """
    try:
        return ModelConfig(**fields)
    except ValidationError as fault:
        raise UserError(explain(fault, ModelConfig, "model")) from None
