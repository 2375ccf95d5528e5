"""MatRIS-MoE: configuration, presets, the model, its derivatives and its files."""

from janus_md.model.checkpoint import load_model, save_model
from janus_md.model.config import ModelConfig
from janus_md.model.derivatives import Prediction, predict
from janus_md.model.matris import MatRISMoE
from janus_md.model.presets import PRESETS, preset

__all__ = [
    "PRESETS",
    "MatRISMoE",
    "ModelConfig",
    "Prediction",
    "load_model",
    "predict",
    "preset",
    "save_model",
]
