"""Everything that moves atoms or box, on 1 to 4 ranks: the last step is what ASE finds there, and that of one rank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lammps_support.runs import Outcome, assert_agrees, in_ase
from lammps_support.scenarios import NVE, RANKS, REPORTED, Results, Scenario, run_scenarios, thermo
from lammps_support.structures import crystal, ethanol, salt, slab, tilted

HEATED = [*NVE[:-1]]
SCENARIOS = {
    "minimize-cg": Scenario(crystal(), ["min_style cg", "minimize 0 1e-3 8 40"]),
    "minimize-fire": Scenario(
        crystal(), ["timestep 0.0005", "min_style fire", "minimize 0 1e-3 8 40"]
    ),
    "minimize-molecule": Scenario(ethanol(), ["minimize 0 0 8 40"], boundary="s s s"),
    "box-relax-iso": Scenario(salt(), ["fix box all box/relax iso 0.0", "minimize 0 0 4 20"]),
    "box-relax-aniso": Scenario(
        salt(), ["fix box all box/relax aniso 0.0", "minimize 0 0 4 20"]
    ),
    "box-relax-tri": Scenario(tilted(), ["fix box all box/relax tri 0.0", "minimize 0 0 4 20"]),
    "nvt": Scenario(salt(), [*HEATED, "fix motion all nvt temp 900 900 0.05", "run 8"]),
    "npt-iso": Scenario(
        salt(), [*HEATED, "fix motion all npt temp 900 900 0.05 iso 0 0 0.2", "run 8"]
    ),
    "npt-tri": Scenario(
        tilted(), [*HEATED, "fix motion all npt temp 900 900 0.05 tri 0 0 0.2", "run 8"]
    ),
    "npt-slab": Scenario(
        slab(), [*HEATED, "fix motion all npt temp 600 600 0.05 x 0 0 0.2 y 0 0 0.2", "run 8"]
    ),
    # Forces of a bath are not the model's, so the last steps are without.
    "langevin": Scenario(
        salt(),
        [*NVE, "fix bath all langevin 900 300 0.05 4567", "run 4", "unfix bath", "run 4"],
    ),
    "velocity": Scenario(salt(), [*NVE, "velocity all set 20 10 0 sum yes", "run 8"]),
    "respa": Scenario(salt(), [*NVE, "run_style respa 2 2 bond 1 pair 2", "run 4"]),
    "balance": Scenario(slab(), [*NVE, "balance 1.0 shift xy 10 1.0", "run 4"]),
    "fix-balance": Scenario(
        slab(), [*NVE, "comm_style tiled", "fix even all balance 4 1.0 rcb", "run 8"]
    ),
    "rerun": Scenario(
        tilted(),
        [
            *NVE,
            "dump frames all custom 4 NAME.frames id type x y z",
            "dump_modify frames sort id format float %.17g",
            "run 8",
            "undump frames",
            "unfix motion",
            REPORTED,
            "rerun NAME.frames dump x y z",
        ],
    ),
    "sorted": Scenario(salt(), ["atom_modify sort 2 3.0", *NVE, "run 8"]),
    "excluded": Scenario(
        salt(),
        [*NVE, "group part id 1:6", "neigh_modify exclude group part part", "run 4"],
    ),
}  # fmt: skip

WITHOUT_ASE = {"excluded"}
"""ASE has no such pairs left out."""

RANDOM = {"langevin"}
"""Each rank draws its own random numbers."""


def results_of(ranks: int, models: Path, factory: pytest.TempPathFactory) -> Results:
    folder = factory.mktemp(f"integrators-{ranks}")
    return run_scenarios(SCENARIOS, models / "double.janus.pt", folder, ranks)


@pytest.fixture(scope="module")
def one_rank(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results_of(1, models, tmp_path_factory)


@pytest.fixture(scope="module", params=RANKS)
def results(
    request: pytest.FixtureRequest,
    one_rank: Results,
    models: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Results:
    return one_rank if request.param == 1 else results_of(request.param, models, tmp_path_factory)


@pytest.mark.parametrize("name", SCENARIOS)
def test_last_step(name: str, results: Results, one_rank: Results, models: Path) -> None:
    found, atoms = results.last(name)
    if name not in WITHOUT_ASE:
        assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))
    if name not in RANDOM:
        assert_same(found, one_rank.last(name)[0])


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name.startswith(("min", "box"))])
def test_minimization_goes_down(name: str, one_rank: Results) -> None:
    rows = thermo(one_rank.log(name))
    assert rows[-1][1] < rows[0][1] - 1e-3


def assert_same(found: Outcome, other: Outcome) -> None:
    """A trajectory on another number of ranks; bounds are those of rounding after eight steps."""
    assert found.energy == pytest.approx(other.energy, rel=1e-12, abs=1e-7)
    np.testing.assert_allclose(found.forces, other.forces, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.stress, other.stress, rtol=0, atol=1e-8)
