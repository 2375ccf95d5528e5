"""Experts merged for one element against a dense model with layers as wide as the experts that element uses.

    python benchmarks/lammps/merged.py --cells 4 --repeats 5 -o benchmarks/results/lammps_merged.json

The `small` preset with random weights in LAMMPS, in turn on the same silicon; processor seconds per step, whose medians
are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from memory import silicon_model
from ranks import rattled_silicon, run_steps

from janus_md.model import preset


def dense_overrides() -> dict[str, int]:
    """One shared expert as wide as all that act on an element in `small`."""
    moe = preset("small")
    active = moe.top_k + moe.num_shared_experts
    return {
        "num_message_experts": 0,
        "num_feature_experts": 0,
        "top_k": 0,
        "num_shared_experts": 1,
        "message_hidden": active * moe.message_hidden,
        "feature_hidden": active * moe.feature_hidden,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = {
            "merged": silicon_model(folder / "merged.janus.pt"),
            "dense": silicon_model(folder / "dense.janus.pt", **dense_overrides()),
        }
        atoms = rattled_silicon(options.cells, folder)
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(options.repeats):
            for name, model in models.items():
                short, _ = run_steps(atoms, folder, model, 1, 0)
                long, _ = run_steps(atoms, folder, model, 1, options.steps)
                seconds[name].append((long - short) / options.steps)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "atoms": len(atoms),
        "seconds": seconds,
        "ratio": medians["merged"] / medians["dense"],
    }
    print(json.dumps(result, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
