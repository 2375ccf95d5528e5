"""What inputs need to know of an exported model, read from its file without torch."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from janus_md.errors import UserError


@dataclass(frozen=True)
class ModelFacts:
    """Part of :class:`janus_md.export.Manifest`."""

    path: Path
    elements: list[str]
    uses_charge: bool
    uses_spin: bool


def model_facts(path: str | Path) -> ModelFacts:
    """Read them from a ``*.janus.pt``.

    Raises:
        UserError: there is no such file, or it is not an exported model.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"the model file {path} does not exist; write it with 'janus-md export'")
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(
                name for name in archive.namelist() if name.endswith("extra/manifest.json")
            )
            content = json.loads(archive.read(entry))
        return ModelFacts(path, content["elements"], content["uses_charge"], content["uses_spin"])
    except (zipfile.BadZipFile, StopIteration, ValueError, KeyError):
        raise UserError(
            f"{path} is not an exported model, or a damaged one: export it with 'janus-md export'"
        ) from None
