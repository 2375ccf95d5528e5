"""Reading an exported model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from janus_md.errors import UserError
from janus_md.export.manifest import ENTRY, Manifest, read_manifest, weights_crc32

EXACT = "references.table"
"""Reference energies, thousands of eV, stay float64 in either precision."""


@dataclass(frozen=True)
class Potential:
    """An exported model and its manifest; ``module`` goes into :func:`janus_md.model.predict`."""

    module: torch.jit.ScriptModule
    manifest: Manifest


def load_exported(path: str | Path, device: str | torch.device = "cpu") -> Potential:
    """Load ``*.janus.pt``. Runs TorchScript, no pickled Python.

    Raises:
        UserError: the file is missing, truncated, not a Janus-MD model, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"the model file {path} does not exist: check the name of the file or run")
    extra = {ENTRY: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except (RuntimeError, ValueError):
        raise UserError(
            f"{path} cannot be read: it is truncated, damaged or not an exported model; copy or export it again"
        ) from None
    text = extra[ENTRY]
    manifest = read_manifest(text.decode() if isinstance(text, bytes) else text, path)
    if weights_crc32(module) != manifest.weights_crc32:
        raise UserError(f"the weights in {path} are damaged: copy or export the file again")
    # What a device has against it, memory above all, is no fault of the file.
    return Potential(module=module.to(device).eval(), manifest=manifest)


def convert(module: torch.jit.ScriptModule, dtype: torch.dtype) -> None:
    """Give the network this arithmetic, in place, as ``pair_style janus precision`` does."""
    for name, values in (*module.named_parameters(), *module.named_buffers()):
        if values.is_floating_point() and not name.endswith(EXACT):
            values.data = values.data.to(dtype)
