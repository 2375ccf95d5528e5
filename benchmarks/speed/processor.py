"""Which processor or GPU this is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cpu_model() -> str:
    """As the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown'}, {os.cpu_count()} cores"


def device_name(device: torch.device) -> str:
    """The model of the GPU, or of the processor."""
    if device.type == "cpu":
        return cpu_model()
    import torch

    return torch.cuda.get_device_name(device)
