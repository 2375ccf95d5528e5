"""Memory of one LAMMPS process over the number of silicon atoms: the `small` preset with random weights, float32.

    python benchmarks/lammps/memory.py --cells 8 16 24 -o benchmarks/results/lammps_memory.json

cells³ · 8 atoms, one evaluation each. Bytes per atom are the slope between one size and the next.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from ase.build import bulk

from janus_md.export import export_model
from janus_md.lammps import build_plugin, input_lines, run, write_data
from janus_md.model import MatRISMoE, preset

LATTICE = 5.43
DISPLACEMENT = 0.1
"""Å"""


def silicon_model(path: Path, name: str = "small", **overrides: object) -> Path:
    """A preset with random weights, exported."""
    torch.manual_seed(0)
    model = MatRISMoE(preset(name, elements=["Si"], **overrides))
    model.set_statistics({("default", "Si"): -5.0}, 1.0, 44.0, 16.0)
    export_model(model, path)
    return path


def evaluate(cells: int, model: Path, style: str) -> dict[str, float]:
    """The peak of memory of one evaluation. To be called `alone`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atoms = bulk("Si", cubic=True, a=LATTICE) * (cells, cells, cells)
        atoms.rattle(DISPLACEMENT, seed=1)
        write_data(atoms, folder / "data.lmp")
        lines = [*input_lines(atoms, "data.lmp", model, style=f"device cpu {style}"), "run 0"]
        (folder / "in.lmp").write_text("\n".join(lines) + "\n")
        done = run(["-in", "in.lmp"], cwd=folder, capture=True)
        if done.returncode != 0:
            raise SystemExit(done.stdout + done.stderr)
        return {"atoms": len(atoms), "peak_bytes": peak_of_children()}


def peak_of_children() -> int:
    """Bytes of the largest process that this one, or one of its children, has waited for."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def alone(call: Callable[..., Any], *arguments: object) -> Any:
    """What a call returns in a new process, whose children are those of the call only."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--cells", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--style", default="", help="more arguments of pair_style, e.g. 'chunk 50'")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    build_plugin()  # here, as the compiler takes more memory than a small evaluation
    with tempfile.TemporaryDirectory() as folder:
        model = silicon_model(Path(folder) / "small.janus.pt")
        rows = []
        for cells in sorted(options.cells):
            rows.append(alone(evaluate, cells, model, options.style))
            if len(rows) > 1:
                more = rows[-1]["atoms"] - rows[-2]["atoms"]
                rows[-1]["bytes_per_atom"] = (
                    rows[-1]["peak_bytes"] - rows[-2]["peak_bytes"]
                ) / more
            print({key: round(value, 1) for key, value in rows[-1].items()}, flush=True)
    if options.output:
        content = {"preset": "small", "precision": "single", "style": options.style, "rows": rows}
        options.output.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
