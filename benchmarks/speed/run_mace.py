"""MACE as ``mace_run_train`` builds it without further options, float32; METHOD is ``mace-`` and the hidden irreps."""

from __future__ import annotations

import ast
from typing import Any

import ase
import mace  # noqa: F401 - before e3nn, whose files torch then reads
import numpy as np
import torch
from ase.data import atomic_numbers
from e3nn import o3
from mace import data, modules
from mace.tools import AtomicNumberTable, build_default_arg_parser, torch_geometric
from timed import main
from torch import Tensor

CUTOFF = 5.0
"""Å, the default."""


def settings(method: str) -> dict[str, Any]:
    given = build_default_arg_parser().parse_args(["--name=speed"])
    names = (
        "num_radial_basis", "num_cutoff_basis", "max_ell", "num_interactions", "correlation", "MLP_irreps",
        "radial_MLP", "interaction", "gate", "use_reduced_cg",
    )  # fmt: skip
    irreps = {"hidden_irreps": method.removeprefix("mace-"), "r_max": CUTOFF}
    return irreps | {name: getattr(given, name) for name in names}


def build(method: str, elements: list[str], atoms: ase.Atoms) -> torch.nn.Module:
    torch.set_default_dtype(torch.float32)
    chosen = settings(method)
    numbers = sorted(atomic_numbers[symbol] for symbol in elements)
    edges = data.get_neighborhood(atoms.positions, CUTOFF, tuple(atoms.pbc), np.array(atoms.cell))
    return modules.ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=chosen["num_radial_basis"],
        num_polynomial_cutoff=chosen["num_cutoff_basis"],
        max_ell=chosen["max_ell"],
        interaction_cls=modules.interaction_classes[chosen["interaction"]],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=chosen["num_interactions"],
        num_elements=len(numbers),
        hidden_irreps=o3.Irreps(chosen["hidden_irreps"]),
        MLP_irreps=o3.Irreps(chosen["MLP_irreps"]),
        atomic_energies=np.zeros((1, len(numbers))),
        avg_num_neighbors=edges[0].shape[1] / len(atoms),
        atomic_numbers=numbers,
        correlation=chosen["correlation"],
        gate=modules.gate_dict[chosen["gate"]],
        use_reduced_cg=chosen["use_reduced_cg"],
        radial_MLP=ast.literal_eval(chosen["radial_MLP"]),
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )


def convert(model: torch.nn.Module, atoms: ase.Atoms) -> dict[str, Tensor]:
    table = AtomicNumberTable([int(number) for number in model.atomic_numbers])
    graph = data.AtomicData.from_config(
        data.config_from_atoms(atoms), z_table=table, cutoff=float(model.r_max)
    )
    loader = torch_geometric.dataloader.DataLoader([graph], batch_size=1, shuffle=False)
    return next(iter(loader)).to_dict()


def evaluate(
    model: torch.nn.Module, graph: dict[str, Tensor], training: bool
) -> tuple[Tensor, Tensor]:
    found = model(dict(graph), training=training)
    return found["energy"].sum(), found["forces"]


if __name__ == "__main__":
    main(["mace-torch", "torch", "e3nn"], settings, build, convert, evaluate)
