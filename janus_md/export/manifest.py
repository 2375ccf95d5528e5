"""What an exported model says of itself, as JSON inside its file."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn

from janus_md.errors import UserError

FORMAT_VERSION = 2
ENGINE = "torchscript"
ENTRY = "manifest.json"


class Manifest(BaseModel):
    """Facts an engine needs before it runs a model; lengths in Å, energies in eV."""

    model_config = ConfigDict(extra="ignore")

    format_version: int = FORMAT_VERSION
    engine: Literal["torchscript"] = ENGINE
    cutoff: float
    line_cutoff: float
    elements: list[str]
    tasks: list[str]
    dtype: Literal["float32", "float64"]
    units: dict[str, str] = {"length": "Å", "energy": "eV"}
    num_blocks: int
    feature_width: int
    parameters: int
    active_parameters: int
    magmoms: bool
    uses_charge: bool
    uses_spin: bool
    uses_composition: bool
    checkpoint_sha256: str
    weights_crc32: int
    versions: dict[str, str]
    minimum_plugin_version: str = "0.1.0"


def weights_crc32(module: nn.Module) -> int:
    """CRC-32 of all parameters and buffers, in the order of their names; the plugin computes the same."""
    checksum = 0
    for _, value in sorted(module.state_dict().items()):
        checksum = zlib.crc32(value.detach().cpu().contiguous().numpy().tobytes(), checksum)
    return checksum


def read_manifest(text: str, path: Path) -> Manifest:
    """Parse and check the manifest of the file ``path``.

    Raises:
        UserError: no manifest, a damaged one, or one of another format or engine.
    """
    if not text:
        raise UserError(f"{path} is not a Janus-MD model: export one with 'janus-md export'")
    try:
        content = json.loads(text)
        _check_versions(content, path)
        return Manifest(**content)
    except (ValueError, KeyError, TypeError, ValidationError):
        raise UserError(f"{path} holds a damaged manifest: export the model again") from None


def _check_versions(content: dict[str, Any], path: Path) -> None:
    """Refuse other formats and engines, in the words of the LAMMPS plugin."""
    version, engine = content["format_version"], content["engine"]
    if version != FORMAT_VERSION:
        remedy = "update janus-md" if version > FORMAT_VERSION else "export the model again"
        raise UserError(
            f"{path} has format version {version}, this janus-md reads {FORMAT_VERSION}: {remedy}"
        )
    if engine != ENGINE:
        raise UserError(
            f"{path} is for the engine '{engine}', this janus-md runs {ENGINE}: export it again"
        )
