"""CHGNet with its defaults; forces come from a graph that can be differentiated again, as in its own calculator."""

from __future__ import annotations

from typing import Any

import ase
import torch
from chgnet.graph.crystalgraph import CrystalGraph
from chgnet.model.model import CHGNet
from pymatgen.io.ase import AseAtomsAdaptor
from timed import main
from torch import Tensor


def settings(method: str) -> dict[str, Any]:
    return CHGNet().model_args


def build(method: str, elements: list[str], atoms: ase.Atoms) -> CHGNet:
    return CHGNet()


def convert(model: CHGNet, atoms: ase.Atoms) -> CrystalGraph:
    return model.graph_converter(AseAtomsAdaptor.get_structure(atoms))


def evaluate(model: CHGNet, graph: CrystalGraph, training: bool) -> tuple[Tensor, Tensor]:
    found = model([graph], task="ef")
    forces = torch.cat(list(found["f"]))
    return found["e"].sum() * len(forces), forces


def idle(model: CHGNet) -> int:
    table = next(model.atom_embedding.parameters())
    return table.numel() - table.shape[1]


if __name__ == "__main__":
    main(["chgnet", "torch"], settings, build, convert, evaluate, idle=idle)
