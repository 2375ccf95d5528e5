"""Models with random weights."""

from __future__ import annotations

import torch

from janus_md.model import MatRISMoE, preset

ELEMENTS = ["H", "O", "Na", "Si", "Cl"]


def random_model(seed: int = 3, **overrides: object) -> MatRISMoE:
    """A `tiny` model with forces of some tenths of eV/Å."""
    torch.manual_seed(seed)
    model = MatRISMoE(preset("tiny", **{"elements": ELEMENTS, **overrides}))
    references = {
        (task, element): -100.0 * (number + 1) - 7.0 * place
        for place, task in enumerate(model.config.tasks)
        for number, element in enumerate(model.config.elements)
    }
    model.set_statistics(references, 1.0, mean_neighbours=40.0, mean_line_neighbours=12.0)
    return model
