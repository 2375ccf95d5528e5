"""Every kind of box and boundary, on 1 to 4 ranks: what LAMMPS ends with is what ASE finds there."""

from __future__ import annotations

from pathlib import Path

import ase
import pytest
from lammps_support.runs import assert_agrees, in_ase
from lammps_support.scenarios import NVE, RANKS, REPORTED, Results, Scenario, run_scenarios
from lammps_support.structures import ethanol, salt, slab, tilted

STEPS = [*NVE, "run 4"]


def wire() -> ase.Atoms:
    """Periodic along z alone."""
    atoms = salt()
    atoms.pbc = (False, False, True)
    return atoms


# All atoms in the plane z = 0.
SHEET = [
    "lattice sq 2.2",
    "region whole block 0 5 0 4 -0.2 0.2",
    "create_box 2 whole",
    "create_atoms 1 box",
    "set type 1 type/fraction 2 0.4 77",
    "displace_atoms all random 0.1 0.1 0 3",
    "mass 1 15.999",
    "mass 2 28.085",
]


def periodic(atoms: ase.Atoms) -> ase.Atoms:
    atoms.pbc = True
    return atoms


SCENARIOS = {
    "triclinic": Scenario(tilted(), STEPS),
    "slab-p-p-f": Scenario(slab(), STEPS),
    "slab-p-p-s": Scenario(slab(), STEPS, boundary="p p s"),
    "slab-p-p-m": Scenario(slab(), STEPS, boundary="p p m"),
    "wire-f-f-p": Scenario(wire(), STEPS),
    "mixed-s-p-f": Scenario(wire(), STEPS, boundary="s f p"),
    "molecule-f-f-f": Scenario(ethanol(), STEPS),
    "molecule-s-s-s": Scenario(ethanol(), STEPS, boundary="s s s"),
    "plane": Scenario(
        SHEET,
        [*STEPS[:-1], "fix plane all enforce2d", "run 4"],
        boundary="p p p",
        before=["dimension 2"],
        types=["O", "Si"],
    ),
    "scaled-box": Scenario(
        salt(), ["change_box all x scale 1.03 y scale 0.98 remap", REPORTED, *STEPS]
    ),
    "sheared-box": Scenario(
        salt(), ["change_box all triclinic", "change_box all xy final 1.1 remap", REPORTED, *STEPS]
    ),
    "opened-box": Scenario(
        periodic(slab()), ["run 0", "change_box all boundary p p f", REPORTED, *STEPS]
    ),
    # The box is strained after the forces of a step, so the last steps are without.
    "strained-while-running": Scenario(
        tilted(),
        [
            *STEPS[:-1],
            "fix strain all deform 1 x erate 5.0 xy erate 5.0",
            "run 4",
            "unfix strain",
            "run 4",
        ],
    ),
    "replicated": Scenario(salt(), ["replicate 2 2 1", REPORTED, *STEPS]),
    "replicated-triclinic": Scenario(tilted(), ["replicate 1 2 2", REPORTED, *STEPS]),
    "smaller-than-the-cutoff": Scenario(salt()[:8].repeat(1), STEPS),
    "tiled": Scenario(
        slab(), ["comm_style tiled", "balance 1.0 rcb", REPORTED, *STEPS], boundary="p p f"
    ),
    # LAMMPS makes its shell of ghosts wide enough whatever is asked for.
    "narrow-shell": Scenario(salt(), ["comm_modify cutoff 2.0", *STEPS]),
    "wide-shell": Scenario(salt(), ["comm_modify cutoff 11.0", *STEPS]),
    "multi": Scenario(
        salt(), ["neighbor 0.4 multi", "comm_modify mode multi", *STEPS[:2], *STEPS[3:]]
    ),
    "columns": Scenario(salt(), STEPS, before=["processors 1 1 *"]),
}


@pytest.fixture(scope="module", params=RANKS)
def results(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    folder = tmp_path_factory.mktemp(f"boxes-{request.param}")
    return run_scenarios(SCENARIOS, models / "double.janus.pt", folder, request.param)


@pytest.mark.parametrize("name", SCENARIOS)
def test_box(name: str, results: Results, models: Path) -> None:
    found, atoms = results.last(name)
    if name == "plane":
        atoms.pbc = (True, True, False)
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))
