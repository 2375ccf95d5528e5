"""Atoms that come, go, and become others, on 1 to 4 ranks: what is left is what ASE finds there."""

from __future__ import annotations

from pathlib import Path

import pytest
from lammps_support.runs import assert_agrees, in_ase, janus_pair
from lammps_support.scenarios import NVE, RANKS, REPORTED, Results, Scenario, run_scenarios
from lammps_support.structures import crystal, pair_of_clusters, salt, slab

MODEL = "MODEL"
"""Replaced by the model's path."""


def again(types: list[str]) -> list[str]:
    """A restart does not hold the pair style."""
    return ["read_restart NAME.restart", *janus_pair(Path(MODEL), types)]


SCENARIOS = {
    "some-deleted": Scenario(
        salt(), [*NVE, "group gone id 2 7 11", "run 4", "delete_atoms group gone", "run 4"]
    ),
    "a-rank-left-empty": Scenario(
        pair_of_clusters(),
        [*NVE, "run 4", "group far id 4:6", "delete_atoms group far", "run 4"],
        before=["processors * 1 1"],
    ),
    "all-deleted": Scenario(
        salt(), [*NVE, "run 4", "delete_atoms group all", "run 4"]
    ),
    "none-then-some": Scenario(
        salt(),
        [
            *NVE,
            "delete_atoms group all",
            "run 4",
            "create_atoms 1 single 1 1 1",
            "create_atoms 2 single 3.2 1 1",
            "run 4",
        ],
    ),
    "created-in-the-middle": Scenario(
        slab(),
        [*NVE, "run 4", "create_atoms 2 single 6.3 6.2 13.4 units box", "run 4"],
    ),
    "deposited": Scenario(
        slab(),
        [
            *NVE,
            "region above block 2 7 2 7 15.5 16.5",
            "fix rain all deposit 2 1 3 2911 region above vz -5 -5 near 1.5 attempt 50",
            "run 8",
        ],
        boundary="p p f",
    ),
    "evaporated": Scenario(
        crystal(), [*NVE, "region whole block INF INF INF INF INF INF",
                    "fix out all evaporate 4 3 whole 4913", "run 8"],
    ),
    "become-others": Scenario(
        salt(), [*NVE, "run 4", "set atom 1*3 type 1", "run 4"], types=["Na", "Cl", "Si"]
    ),
    "swapped": Scenario(
        salt(), [*NVE, "fix trade all atom/swap 2 3 2811 900 ke no types 1 2", "run 8"]
    ),
    "moved-by-chance": Scenario(
        salt(),
        [*NVE, "fix chance all gcmc 2 0 6 1 2811 900 0.0 0.3 overlap_cutoff 0.5", "run 8"],
    ),
    "restarted": Scenario(
        salt(),
        [*NVE, "run 4", "write_restart NAME.restart", "clear", "log NAME.log append",
         *again(["Na", "Cl"]), REPORTED, *NVE[1:], "run 4"],
    ),
    "type-without-atoms": Scenario(salt(), [*NVE, "run 4"], types=["H", "Na", "Cl", "Si"]),
    "groups-alone": Scenario(
        crystal(), [*NVE[:-1], "group mobile id 3:9", "fix motion mobile nve", "run 4"]
    ),
}  # fmt: skip

LEFT = {"some-deleted": 13, "a-rank-left-empty": 3, "all-deleted": 0, "none-then-some": 2,
        "created-in-the-middle": 19, "deposited": 20}  # fmt: skip
"""Atoms at the end."""


@pytest.fixture(scope="module", params=RANKS)
def results(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    folder = tmp_path_factory.mktemp(f"atoms-{request.param}")
    return run_scenarios(SCENARIOS, models / "double.janus.pt", folder, request.param)


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_left(name: str, results: Results, models: Path) -> None:
    found, atoms = results.last(name)
    assert len(atoms) == LEFT.get(name, len(atoms))
    if len(atoms) == 0:
        assert found.energy == 0.0
        return
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))
