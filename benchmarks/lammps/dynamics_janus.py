"""Ours in LAMMPS: METHOD is a preset, or ``dense-N``, a dense model with N active parameters."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from dynamics import arguments, in_lammps
from run_janus import build

from janus_md.export import export_model
from janus_md.lammps import build_plugin, environment
from janus_md.lammps.plugin_path import package_folder


def main() -> None:
    method, atoms, steps, limit = arguments()
    symbols = sorted(set(atoms.symbols))
    build_plugin(report=lambda line: None)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.janus.pt"
        export_model(build(method, symbols, atoms), model)
        pair = f"pair_style janus device cpu\npair_coeff * * {model.name} {' '.join(symbols)}"
        lmp = package_folder("lammps") / "lmp"
        in_lammps(lmp, os.environ | environment(), model, pair, atoms, steps, limit)


if __name__ == "__main__":
    main()
