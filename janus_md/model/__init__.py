"""MatRIS-MoE: configuration, presets, the model, its derivatives and its files.

Names are fetched when first used: a configuration is checked without waiting for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_md.lazy import lazy

if TYPE_CHECKING:
    from janus_md.model.checkpoint import load_model, save_model
    from janus_md.model.config import ModelConfig
    from janus_md.model.derivatives import Prediction, predict
    from janus_md.model.matris import MatRISMoE
    from janus_md.model.presets import PRESETS, configure, preset

__all__ = [
    "PRESETS",
    "MatRISMoE",
    "ModelConfig",
    "Prediction",
    "configure",
    "load_model",
    "predict",
    "preset",
    "save_model",
]

__getattr__ = lazy(
    __name__,
    {
        "PRESETS": "janus_md.model.presets",
        "MatRISMoE": "janus_md.model.matris",
        "ModelConfig": "janus_md.model.config",
        "Prediction": "janus_md.model.derivatives",
        "configure": "janus_md.model.presets",
        "load_model": "janus_md.model.checkpoint",
        "predict": "janus_md.model.derivatives",
        "preset": "janus_md.model.presets",
        "save_model": "janus_md.model.checkpoint",
    },
)
