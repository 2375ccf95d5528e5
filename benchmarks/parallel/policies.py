"""What the policy of a block costs and saves: memory, bytes, time and waiting, on several ranks.

    python benchmarks/parallel/policies.py --ranks 4 -o benchmarks/results/parallel_policies.json

A model whose weights outweigh its activations takes a few steps in each layout, one after the other; of each step the
ledger's tables are taken (medians over the steps after the first two; memory: the peak of a rank). A finished run of
the same recipe that `--runs` holds is not done again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

from ase.build import bulk
from ase.calculators.emt import EMT
from runs import Rows, Run, all_trained, deep

from janus_md.errors import UserError
from janus_md.io import Frame, write_frames

LAYOUTS: dict[str, dict[str, Any]] = {
    "replicas": {"unit": 1},
    "shards, kept whole through the four phases": {"regather": False, "recompute": False},
    "shards, kept whole, recomputed": {"regather": False, "recompute": True},
    "shards, gathered again in each phase": {"regather": True},
    "the same without overlap": {"regather": True, "overlap": False},
    "kept whole, without overlap": {"regather": False, "recompute": False, "overlap": False},
    "all experts restored, not only those needed": {"regather": True, "shard_experts": False},
    "gathered again, 16-bit experts": {"regather": True, "compress_experts": "fp16"},
}


def alloys(file: Path, count: int = 48) -> None:
    """Small crystals of two metals each, labelled with EMT."""
    frames = []
    metals = ["Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt"]
    for number in range(count):
        atoms = bulk(metals[number % 7], cubic=True) * (2, 1, 1)
        atoms.symbols[::2] = metals[(number * 3 + 1) % 7]
        atoms.rattle(0.1, seed=number)
        atoms.calc = EMT()
        frames.append(
            Frame(atoms, atoms.get_potential_energy(), atoms.get_forces(), None, task="emt")
        )
    write_frames(file, frames)


def recipe(folder: Path, blocks: int, width: int, steps: int) -> dict[str, Any]:
    return {
        "model": {
            "preset": "small", "blocks": blocks, "width": width, "edge_width": width // 2,
            "message_hidden": width, "feature_hidden": 2 * width, "top_k": 2, "line_blocks": 0,
            "num_message_experts": 16, "num_feature_experts": 16,
        },
        "data": {"root": str(folder.resolve()), "sets": [{"path": "alloys.extxyz", "task": "emt"}]},
        "batch": {"structures": 8},
        "loss": {
            "energy": {"weight": 1.0, "delta": 0.01}, "forces": {"weight": 10.0, "delta": 0.01},
        },
        "optimiser": {"method": "muon", "lr": 0.005},
        "ema": {"decay": 0.0},
        "train": {
            "steps": steps, "validate_every": 100_000, "threads": 1, "log_every": 1, "checkpoint_minutes": 1e4,
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--runs", type=Path, default=Path("runs-policies"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    options.runs.mkdir(exist_ok=True)
    alloys(options.runs / "alloys.extxyz")
    base = recipe(options.runs, options.blocks, options.width, options.steps)
    found = {}
    try:
        for name, rows in all_trained(layouts(base, options.ranks, options.runs)):
            found[name] = summary(rows)
            print(name, found[name], flush=True)
    except UserError as error:
        raise SystemExit(str(error)) from None
    content = {"ranks": options.ranks, "blocks": options.blocks, "width": options.width}
    options.output.write_text(json.dumps(content | {"layouts": found}, indent=1) + "\n")


def layouts(base: dict[str, Any], ranks: int, folder: Path) -> dict[str, Run]:
    """Recipe, ranks and folder of each layout."""
    return {
        name: (deep(base, parallel={"unit": ranks} | parallel), ranks, folder / str(number))
        for number, (name, parallel) in enumerate(LAYOUTS.items())
    }


def summary(rows: Rows) -> dict[str, Any]:
    steps = [row["ranks"] for row in rows if row["kind"] == "train"][2:]
    work = [phase for phase in steps[0]["seconds"] if phase != "between"]

    def of_step(name: str, step: dict[str, Any]) -> float:
        return sum(value for key, value in step[name].items() if key.split("/")[0] in work)

    return {
        "seconds": round(median(of_step("seconds", step) for step in steps), 3),
        "waited": round(median(of_step("waited", step) for step in steps), 3),
        "sent_mb": round(median(of_step("bytes", step) for step in steps) / 1e6, 2),
        "held_mb": round(steps[-1]["parameters"] / 1e6, 2),
        "whole_mb": {phase: round(max(s["restored"][phase] for s in steps) / 1e6, 2) for phase in work},
        "process_mb": {phase: round(max(s["memory"][phase] for s in steps) / 1e6) for phase in work},
        "last_loss": [row["loss"] for row in rows if row["kind"] == "train"][-1],
    }  # fmt: skip


if __name__ == "__main__":
    main()
