"""NequIP, the model of its tutorial without ZBL, float32, not compiled; the stress comes along with the forces."""

from __future__ import annotations

from typing import Any

import ase
import torch
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state
from timed import main
from torch import Tensor

CUTOFF = 5.0
"""Å, that of the tutorial."""


def settings(method: str) -> dict[str, Any]:
    return {
        "r_max": CUTOFF, "num_bessels": 8, "num_layers": 4, "l_max": 1, "parity": True, "num_features": 32,
        "radial_mlp_depth": 2, "radial_mlp_width": 64,
    }  # fmt: skip


def build(method: str, elements: list[str], atoms: ase.Atoms) -> torch.nn.Module:
    set_global_state(allow_tf32=False)
    edges = compute_neighborlist_(from_ase(atoms), CUTOFF)[AtomicDataDict.EDGE_INDEX_KEY].shape[1]
    return NequIPGNNModel(
        seed=0,
        model_dtype="float32",
        type_names=elements,
        avg_num_neighbors=edges / len(atoms),
        per_type_energy_scales=dict.fromkeys(elements, 1.0),
        per_type_energy_shifts=dict.fromkeys(elements, 0.0),
        **settings(method),
    )


def convert(model: torch.nn.Module, atoms: ase.Atoms) -> dict[str, Tensor]:
    types = ChemicalSpeciesToAtomTypeMapper(model_type_names=model.type_names)
    return compute_neighborlist_(types(from_ase(atoms)), CUTOFF)


def evaluate(
    model: torch.nn.Module, graph: dict[str, Tensor], training: bool
) -> tuple[Tensor, Tensor]:
    found = model(dict(graph))
    return found[AtomicDataDict.TOTAL_ENERGY_KEY].sum(), found[AtomicDataDict.FORCE_KEY]


if __name__ == "__main__":
    main(["nequip", "torch", "e3nn"], settings, build, convert, evaluate)
