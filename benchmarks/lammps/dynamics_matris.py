"""MatRIS through its ASE calculator; METHOD as for ``speed/run_matris.py``."""

from __future__ import annotations

import ase
import torch
from dynamics import through_ase
from matris.applications.base import MatRISCalculator
from matris.model.model import MatRIS
from matris.model.reference_energy import AtomRef
from run_matris import build


def calculator(method: str, atoms: ase.Atoms) -> MatRISCalculator:
    torch.manual_seed(0)
    model = build(method, sorted(set(atoms.symbols)), atoms).eval()
    model.reference_energy = AtomRef("MPtrj")  # without one the calculator fails
    # The calculator knows released weights only, by name, and downloads them.
    MatRIS.load = lambda **_: model
    return MatRISCalculator(task="ef", device="cpu")


if __name__ == "__main__":
    through_ase(calculator)
