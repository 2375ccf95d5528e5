"""Training steps with forces of `moe-s`, 1.09 billion parameters, over several ranks of one machine.

    python benchmarks/parallel/large.py --ranks 2 --steps 12 -o benchmarks/results/parallel_moe_s.json

Crystals of two elements each, labelled with EMT. Weights, gradients and momentum are divided over the ranks, a block's
weights are restored when it is computed, and only experts that the step's elements need. There is no averaging (another
copy of the weights) and checkpoints are not written from a copy. A finished run of the same recipe that `--runs` holds
is not done again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from policies import alloys
from runs import trained

from janus_md.errors import UserError

CRYSTALS = 4
FRAMES = f"{CRYSTALS}-alloys.extxyz"
"""Named by their number, as `policies.py` may have put others there."""


def recipe(folder: Path, ranks: int, steps: int, method: str) -> dict[str, Any]:
    return {
        "model": {"preset": "moe-s", "line_blocks": 1, "cutoff": 4.0, "line_cutoff": 3.0},
        "data": {
            "root": str(folder.resolve()),
            "sets": [{"path": FRAMES, "task": "emt"}],
            "valid_fraction": 0.0,
        },
        "batch": {"structures": CRYSTALS},  # all of them: losses of steps compare
        "loss": {"energy": {"weight": 1.0, "delta": 0.01}, "forces": {"weight": 10.0, "delta": 0.01}},
        "optimiser": {"method": method, "lr": 0.0001},
        "ema": {"decay": 0.0},
        "schedule": {"warmup": 0.0},
        "parallel": {"unit": ranks, "regather": True},
        "train": {
            "steps": steps, "validate_every": 100_000, "threads": 1, "log_every": 1,
            "checkpoint_minutes": 1e4, "checkpoint_behind": False,
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--method", choices=("muon", "adamw"), default="muon")
    parser.add_argument("--runs", type=Path, default=Path("runs-large"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.runs.mkdir(exist_ok=True)
    alloys(options.runs / FRAMES, count=CRYSTALS)
    settings = recipe(options.runs, options.ranks, options.steps, options.method)
    try:
        rows = trained(settings, options.ranks, options.runs / "run")
    except UserError as error:
        raise SystemExit(str(error)) from None
    steps = [row for row in rows if row["kind"] == "train"]
    found = {
        "ranks": options.ranks,
        "method": options.method,
        "loss": [row["loss"] for row in steps],
        "seconds": [round(sum(row["ranks"]["seconds"].values()), 1) for row in steps],
        "phases": {phase: round(s, 1) for phase, s in steps[-1]["ranks"]["seconds"].items()},
        "held_mb": round(steps[-1]["ranks"]["parameters"] / 1e6),
        "whole_mb": round(max(max(row["ranks"]["restored"].values()) for row in steps) / 1e6),
        "process_mb": round(max(max(row["ranks"]["memory"].values()) for row in steps) / 1e6),
        "sent_mb": round(sum(steps[-1]["ranks"]["bytes"].values()) / 1e6),
        "tokens": steps[-1]["ranks"]["tokens"],
    }
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({key: value for key, value in found.items() if key != "tokens"}, indent=1))


if __name__ == "__main__":
    main()
