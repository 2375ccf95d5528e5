"""What a training gains from more cores: as threads of one process, and as ranks of one thread each.

    python benchmarks/parallel/cores.py --cores 2 --data ../shared/data -o benchmarks/results/parallel_cores.json

Takes steps of a recipe of ``benchmarks/accuracy`` in every way, in turn and pass by pass; prints seconds a step, the
medians of the passes, and how often the steps of one thread fit into that time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml
from runs import Rows, deep, trained

RECIPES = Path(__file__).resolve().parents[1] / "accuracy" / "recipes"
WARM = 20
"""Steps that are not counted: caches fill, and the processor's pace settles."""


def ways(cores: int) -> dict[str, tuple[int, int, int]]:
    """Ranks, threads of each, and ranks that share one copy of the weights."""
    return {
        "1 thread": (1, 1, 1),
        f"{cores} threads": (1, cores, 1),
        f"{cores} ranks": (cores, 1, 1),
        f"{cores} ranks that share weights": (cores, 1, cores),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--recipe", default="hot-crystals", help="of benchmarks/accuracy/recipes")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    recipe = yaml.safe_load((RECIPES / f"{options.recipe}.yaml").read_text())
    recipe = deep(
        recipe,
        data={"root": str(options.data.resolve())},
        train={"max_minutes": None, "steps": options.steps, "validate_every": 100_000},
    )
    seconds: dict[str, list[float]] = {name: [] for name in ways(options.cores)}
    for _ in range(options.passes):
        for name, way in ways(options.cores).items():
            seconds[name].append(step_s(recipe, *way))
            print(f"{name}: {seconds[name][-1]:.4f} s", flush=True)
    found = summary(seconds)
    content = {"recipe": options.recipe, "steps": options.steps, "ways": found}
    options.output.write_text(json.dumps(content, indent=1) + "\n")
    for name, row in found.items():
        print(f"| {name} | {row['step_s']:.3f} | {row['speed_up']:.2f} |")


def step_s(recipe: dict[str, Any], ranks: int, threads: int, unit: int) -> float:
    """Seconds of wall time a step, the mean over all but the first."""
    parts = {"train": {"threads": threads}, "parallel": {"unit": unit}}
    with tempfile.TemporaryDirectory() as folder:
        return pace(trained(deep(recipe, **parts), ranks, Path(folder) / "run"))


def pace(rows: Rows) -> float:
    """Seconds a step from the rows that training wrote."""
    minutes = [row["minutes"] for row in rows if row["kind"] == "train"]
    return 60.0 * (minutes[-1] - minutes[WARM]) / (len(minutes) - 1 - WARM)


def summary(seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Medians, and the first way's over each."""
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    first = next(iter(medians.values()))
    return {
        name: {"step_s": median, "speed_up": first / median, "passes": seconds[name]}
        for name, median in medians.items()
    }


if __name__ == "__main__":
    main()
