"""Results that are not finite, refused in the words of the LAMMPS plugin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from janus_md.errors import UserError
from janus_md.graph import AtomGraph
from janus_md.model import Prediction


def refuse_not_finite(prediction: Prediction, graph: AtomGraph, path: Path) -> None:
    """Raise ``UserError`` where an energy or a force of the model at ``path`` is not finite.

    Of the atoms concerned it names the one whose nearest neighbour is nearest: the likeliest cause.
    """
    assert prediction.forces is not None
    fine = prediction.energies.isfinite() & prediction.forces.isfinite().all(dim=1)
    if bool(fine.all()):
        return
    nearest = np.full(graph.num_atoms, np.inf)
    bonded = np.diff(graph.offsets) > 0
    nearest[bonded] = np.linalg.norm(graph.vectors[graph.offsets[:-1][bonded]], axis=1)
    concerned = np.flatnonzero(~fine.cpu().numpy())
    worst = int(concerned[nearest[concerned].argmin()])
    has = f"its nearest neighbour {nearest[worst]:.3g} Å away" if bonded[worst] else "no neighbour"
    raise UserError(
        f"{path} gives energies or forces that are not finite: atom {worst}"
        f" ({chemical_symbols[graph.numbers[worst]]}) has {has};"
        " start from another structure or take shorter steps"
    )
