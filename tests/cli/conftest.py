"""A model and structures that commands of the tests work on."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.io import write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model of Si and O and silicon: a crystal, one atom, one with a fixed atom."""
    from janus_md.export import export_model
    from janus_md.model import MatRISMoE, preset

    path = tmp_path_factory.mktemp("cli")
    export_model(MatRISMoE(preset("tiny", elements=["Si", "O"])), path / "m.janus.pt")
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.05, seed=0)
    write(path / "si.cif", silicon)
    write(path / "one.cif", bulk("Si", "fcc", a=3.9))
    silicon.set_constraint(FixAtoms([0]))
    write(path / "fixed.vasp", silicon)
    return path
