"""MACE through its ASE calculator; METHOD as for ``speed/run_mace.py``."""

from __future__ import annotations

import ase
import torch
from dynamics import through_ase
from mace.calculators import MACECalculator
from run_mace import build


def calculator(method: str, atoms: ase.Atoms) -> MACECalculator:
    torch.manual_seed(0)
    model = build(method, sorted(set(atoms.symbols)), atoms)
    return MACECalculator(models=model, device="cpu", default_dtype="float32")


if __name__ == "__main__":
    through_ase(calculator)
