"""MatRIS (PyPI ``matris``) with its defaults; ``matris-recompute`` recomputes its blocks, else done for many angles."""

from __future__ import annotations

from typing import Any

import ase
import torch
from matris.model import interaction_block
from matris.model.model import MatRIS
from pymatgen.io.ase import AseAtomsAdaptor
from timed import main
from torch import Tensor


def settings(method: str) -> dict[str, Any]:
    recompute = {"recompute_above_angles": interaction_block.THRESHOLD_VALUE}
    return MatRIS().config | ({"recompute_above_angles": 0} if "-" in method else recompute)


def build(method: str, elements: list[str], atoms: ase.Atoms) -> MatRIS:
    if method == "matris-recompute":
        interaction_block.THRESHOLD_VALUE = 0
    return MatRIS()


def convert(model: MatRIS, atoms: ase.Atoms) -> Any:
    return model.graph_converter(AseAtomsAdaptor.get_structure(atoms))


def evaluate(model: MatRIS, graph: Any, training: bool) -> tuple[Tensor, Tensor]:
    found = model([graph], task="ef", is_training=training)
    forces = torch.cat(list(found["f"]))
    return found["e"].sum() * len(forces), forces


def idle(model: MatRIS) -> int:
    table = next(model.atom_embedding.parameters())
    return table.numel() - table.shape[1]


if __name__ == "__main__":
    main(["matris", "torch"], settings, build, convert, evaluate, idle=idle)
