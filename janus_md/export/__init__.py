"""From a trained model to one file: experts merged for the elements wanted, TorchScript, a manifest."""

from janus_md.export.manifest import Manifest
from janus_md.export.model_file import Potential, load_exported
from janus_md.export.write import export_model, merge_experts

__all__ = ["Manifest", "Potential", "export_model", "load_exported", "merge_experts"]
