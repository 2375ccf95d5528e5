"""The same training on one process and on several, and with experts that travel as 16-bit floats.

    python benchmarks/parallel/curves.py --data ../shared/data --steps 300 -o benchmarks/results/parallel_curves.json

Runs one after the other on `hot-crystals-1k` and `mptrj-1k`: one process, four ranks that share parameters, graphs and
experts, four ranks with `compress_experts: fp16`; writes losses by step, their differences, errors on the validation
frames, and a picture. A finished run of the same recipe that `--runs` holds is not done again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from runs import Rows, Run, all_trained, deep

from janus_md.errors import UserError

FOUR = {"unit": 4, "shard_graphs": "auto", "recompute": False}
LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "1 process": (1, {}),
    "4 ranks, all sharded": (4, FOUR),
    "4 ranks, fp16 experts": (4, FOUR | {"compress_experts": "fp16"}),
}


def recipe(data: Path, steps: int) -> dict[str, Any]:
    sets = [
        {"path": "hot-crystals-1k.extxyz", "task": "hot"},
        {"path": "mptrj-1k.extxyz", "task": "mptrj", "max_force": 10.0},
    ]
    return {
        "model": {
            "preset": "small", "blocks": 2, "width": 48, "edge_width": 24, "message_hidden": 32, "feature_hidden": 64,
            "num_message_experts": 8, "num_feature_experts": 8, "top_k": 2, "line_blocks": 0,
        },
        "data": {"root": str(data.resolve()), "sets": sets},
        "batch": {"structures": 8},
        "loss": {
            "energy": {"weight": {"start": 0.1, "end": 1.0}, "delta": 0.01},
            "forces": {"weight": 10.0, "form": "huber", "delta": 0.1},
        },
        "optimiser": {"method": "muon", "lr": 0.004},
        "ema": {"decay": 0.99},
        # Beyond a tenth of a gigabyte a graph is divided.
        "train": {"steps": steps, "validate_every": 100_000, "threads": 1, "log_every": 1, "memory": 0.1},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=Path, default=Path("runs-curves"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    try:
        curves = dict(all_trained(layouts(recipe(options.data, options.steps), options.runs)))
    except UserError as error:
        raise SystemExit(str(error)) from None
    first = losses(curves["1 process"])
    found = {
        "steps": options.steps,
        "curves": {
            name: {
                "loss": [float(f"{value:.8g}") for value in losses(rows)],
                "relative_difference": {
                    "first_10_steps": relative(losses(rows)[:10], first[:10]),
                    "first_half": relative(losses(rows)[: len(first) // 2], first[: len(first) // 2]),
                    "all": relative(losses(rows), first),
                },
                "validation": [row for row in rows if row["kind"] == "valid"][-2:],
                "graphs_bytes": sum(
                    value for row in rows for key, value in row.get("ranks", {}).get("bytes", {}).items()
                    if key.endswith("/graphs")
                ),
            }
            for name, rows in curves.items()
        },
    }  # fmt: skip
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    draw(found["curves"], options.output.with_suffix(".png"))
    for name, curve in found["curves"].items():
        print(name, curve["relative_difference"], curve["validation"])


def layouts(base: dict[str, Any], folder: Path) -> dict[str, Run]:
    """Recipe, ranks and folder of each layout."""
    return {
        name: (deep(base, parallel=parallel), ranks, folder / str(number))
        for number, (name, (ranks, parallel)) in enumerate(LAYOUTS.items())
    }


def losses(rows: Rows) -> list[float]:
    return [row["loss"] for row in rows if row["kind"] == "train"]


def relative(curve: list[float], other: list[float]) -> float:
    """Largest difference over the other curve."""
    return float(np.max(np.abs(np.array(curve) - other) / np.abs(other)))


def draw(curves: dict[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    first = np.array(next(iter(curves.values()))["loss"])
    for name, curve in curves.items():
        loss = np.array(curve["loss"])
        left.semilogy(loss, label=name, lw=1)
        if not np.array_equal(loss, first):
            right.semilogy(np.abs(loss - first) / first, label=name, lw=1)
    left.set_ylabel("loss")
    right.set_ylabel("relative difference from 1 process")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.legend()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
