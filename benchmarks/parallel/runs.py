"""Training runs under torchrun, and what they wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

Rows = list[dict[str, Any]]


def trained(recipe: dict[str, Any], ranks: int, folder: Path) -> Rows:
    """``metrics.jsonl`` of a run of ``recipe`` on so many ranks, one thread each."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(recipe))
    command = ["torch.distributed.run", "--nproc-per-node", str(ranks), "--rdzv-backend", "c10d",
               "--rdzv-endpoint", "localhost:0", "-m", "janus_md.cli.main"]  # fmt: skip
    launch = command if ranks > 1 else ["janus_md.cli.main"]
    subprocess.run(
        [sys.executable, "-m", *launch, "train", str(file), "-o", str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
    )
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def deep(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A recipe with some parts changed: ``train={"steps": 3}`` changes that key of the part only."""
    return base | {
        part: base.get(part, {}) | value if isinstance(value, dict) else value
        for part, value in changes.items()
    }
