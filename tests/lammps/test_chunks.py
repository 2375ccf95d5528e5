"""Evaluation in chunks of atoms: any size of chunk or memory gives the same numbers, on any number of ranks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lammps_support.models import random_model
from lammps_support.runs import assert_agrees, in_ase, janus_pair, peak_memory, setup
from lammps_support.scenarios import NVE, Results, Scenario, run_scenarios
from lammps_support.structures import crystal, ethanol, pair_of_clusters, slab, tilted

from janus_md.export import export_model

STRUCTURES = {
    "crystal": Scenario(crystal(), [*NVE, "run 4"]),
    "tilted": Scenario(tilted(), [*NVE, "run 4"]),
    "slab": Scenario(slab(), [*NVE, "run 4"]),
    "molecule": Scenario(ethanol(), [*NVE, "run 4"]),
    "ranks-without-atoms": Scenario(pair_of_clusters(), ["run 0"], before=["processors * 1 1"]),
}
STYLES = ("chunk 1", "chunk 7", "memory 0", "memory 0.003")
"""The last keeps one of two blocks of `tilted` on one rank and of `crystal` on two."""


def in_chunks(scenario: Scenario, style: str) -> Scenario:
    return replace(scenario, pair=janus_pair(Path("MODEL"), scenario.order, style=style))


SCENARIOS = {
    f"{name}-{style.replace(' ', '-')}": in_chunks(scenario, style)
    for name, scenario in STRUCTURES.items()
    for style in STYLES
}


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow), 4])
def results(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    folder = tmp_path_factory.mktemp(f"chunks-{request.param}")
    return run_scenarios(SCENARIOS, models / "double.janus.pt", folder, request.param)


@pytest.mark.parametrize("name", SCENARIOS)
def test_chunk(name: str, results: Results, models: Path) -> None:
    found, atoms = results.last(name)
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))


def test_chunks_and_memory_bound_what_a_process_holds(models: Path, tmp_path: Path) -> None:
    """Numbers do not tell whether they act: what an evaluation keeps for its backward pass does, 0.25 GB of all."""
    atoms, model = crystal() * (4, 4, 2), models / "double.janus.pt"
    whole, partly, *bounded = (
        peak_memory(
            [*setup(atoms, tmp_path, janus_pair(model, ["O", "Si"], style)), "run 0"], tmp_path
        )
        for style in ("memory 10", "memory 0.1", "memory 0", "chunk 16")
    )
    assert partly < whole - 50e6
    assert max(bounded) < partly - 50e6


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_single_block(plugin: Path, tmp_path: Path, ranks: int) -> None:
    """Nothing is exchanged, and nothing computed again."""
    model = tmp_path / "one.janus.pt"
    export_model(random_model(blocks=1, line_blocks=0), model, precision="double")
    styles = {"whole": "memory 1", "chunks": "chunk 7"}
    scenarios = {
        name: replace(
            STRUCTURES["crystal"],
            pair=janus_pair(Path("MODEL"), STRUCTURES["crystal"].order, style=style),
        )
        for name, style in styles.items()
    }
    results = run_scenarios(scenarios, model, tmp_path, ranks)
    for name in styles:
        found, atoms = results.last(name)
        assert_agrees(found, in_ase(atoms, model))
