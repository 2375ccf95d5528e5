"""SevenNet, the model of its ``base`` preset, float32, with e3nn's tensor products."""

from __future__ import annotations

import copy
from typing import Any

import ase
import torch
from sevenn import _const
from sevenn.atom_graph_data import AtomGraphData
from sevenn.model_build import build_E3_equivariant_model
from sevenn.train.dataload import unlabeled_atoms_to_graph
from sevenn.util import chemical_species_preprocess
from timed import main
from torch import Tensor

CUTOFF = 5.0
"""Å, that of the preset."""


def settings(method: str) -> dict[str, Any]:
    preset = {
        "cutoff": CUTOFF, "channel": 32, "lmax": 2, "num_convolution_layer": 3, "is_parity": False,
        "self_connection_type": "nequip", "weight_nn_hidden_neurons": [64, 64],
        "radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": 8},
        "cutoff_function": {"cutoff_function_name": "poly_cut", "poly_cut_p_value": 6},
    }  # fmt: skip
    return copy.deepcopy(_const.DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG) | preset


def build(method: str, elements: list[str], atoms: ase.Atoms) -> torch.nn.Module:
    edges = unlabeled_atoms_to_graph(atoms, CUTOFF)["edge_index"].shape[1]
    statistics = {"shift": 0.0, "scale": 1.0, "conv_denominator": edges / len(atoms)}
    model = build_E3_equivariant_model(
        settings(method) | chemical_species_preprocess(elements) | statistics
    )
    model.set_is_batch_data(False)
    return model


def convert(model: torch.nn.Module, atoms: ase.Atoms) -> AtomGraphData:
    return AtomGraphData.from_numpy_dict(unlabeled_atoms_to_graph(atoms, CUTOFF))


def evaluate(model: torch.nn.Module, graph: AtomGraphData, training: bool) -> tuple[Tensor, Tensor]:
    found = model(graph.clone())
    return found["inferred_total_energy"].sum(), found["inferred_force"]


if __name__ == "__main__":
    main(["sevenn", "torch", "e3nn"], settings, build, convert, evaluate)
