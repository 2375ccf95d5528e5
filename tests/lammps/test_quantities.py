"""What LAMMPS can ask of the pair style: per-atom values, virials of each kind, atom styles, units, other styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lammps_support.runs import assert_agrees, in_ase
from lammps_support.scenarios import NVE, RANKS, Results, Scenario, run_scenarios, thermo
from lammps_support.structures import crystal, salt, tilted

BONDED = ["special_bonds lj/coul 1.0 1.0 1.0"]

# Sums over atoms against the global values, and the parts of the pressure.
SUMS = [
    "compute peratom all pe/atom",
    "compute energy all reduce sum c_peratom",
    "compute twobody all stress/atom NULL pair",
    "compute centroid all centroid/stress/atom NULL pair",
    "compute full all stress/atom NULL",
    "compute s all reduce sum c_twobody[*]",
    "compute c all reduce sum c_centroid[*]",
    "compute kinetic all reduce sum c_full[*]",
    "compute pair all pressure NULL pair",
    "compute virials all pressure NULL virial",
    "compute total all pressure thermo_temp",
    "compute ke all pressure thermo_temp ke",
]


def summed(steps: str = "run 4") -> list[str]:
    columns = ["pe", "c_energy", "vol"]
    for name in ("s", "c", "kinetic", "pair", "virials", "total", "ke"):
        columns += [f"c_{name}[{i}]" for i in range(1, 10 if name == "c" else 7)]
    return [
        *NVE,
        *SUMS,
        f"thermo_style custom step {' '.join(columns)}",
        "thermo_modify format float %.17g norm no",
        steps,
    ]


# Atoms of the styles that read_data would want more columns for: the same box, made by commands.
ROCKSALT = [
    "lattice fcc 5.64",
    "region whole block 0 2 0 1 0 1",
    "create_box 2 whole",
    "create_atoms 1 box",
    "lattice fcc 5.64 origin 0.5 0 0",
    "create_atoms 2 box",
    "mass 1 22.99",
    "mass 2 35.45",
    "displace_atoms all random 0.1 0.1 0.1 8",
]


def of_style(style: str, commands: tuple[str, ...] = ()) -> Scenario:
    return Scenario(ROCKSALT, [*commands, *NVE, "run 4"], types=["Na", "Cl"], style=style)


AGREEING = {
    "atomic": of_style("atomic"),
    "charge": of_style("charge", ("set type 1 charge 1", "set type 2 charge -1")),
    "full": of_style("full", BONDED),
    "hybrid": of_style("hybrid charge bond", BONDED),
}
WITH_ZBL = [
    "pair_style hybrid/overlay janus zbl 1.5 2.6",
    "pair_coeff * * janus MODEL O Si",
    "pair_coeff 1 1 zbl 8 8",
    "pair_coeff 1 2 zbl 8 14",
    "pair_coeff 2 2 zbl 14 14",
]
SUMMED = {
    "cubic": Scenario(salt(), summed()),
    "tilted": Scenario(tilted(), summed()),
    "with-zbl": Scenario(crystal(), summed(), pair=WITH_ZBL),
    "real-units": Scenario(
        salt(), [line.replace("timestep 0.001", "timestep 1.0") for line in summed()], units="real"
    ),
}


@pytest.fixture(scope="module", params=RANKS)
def results(
    request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    folder = tmp_path_factory.mktemp(f"quantities-{request.param}")
    model = models / "double.janus.pt"
    return run_scenarios({**AGREEING, **SUMMED}, model, folder, request.param)


@pytest.mark.parametrize("style", AGREEING)
def test_atom_style(style: str, results: Results, models: Path) -> None:
    found, atoms = results.last(style)
    assert_agrees(found, in_ase(atoms, models / "double.janus.pt"))


@pytest.mark.parametrize("name", SUMMED)
def test_sums_over_atoms_and_kinds_of_pressure(name: str, results: Results) -> None:
    for row in thermo(results.log(name)):
        energy, summed_energy, volume = row[1:4]
        s, c, full, pair, virials, total, ke = np.split(
            np.array(row[4:]), np.cumsum([6, 9, 6, 6, 6, 6])
        )
        assert summed_energy == pytest.approx(energy, rel=1e-13)
        close(-s / volume, pair)
        close(-full / volume, total)
        close(virials, pair)
        close(pair + ke, total)
        # xx yy zz xy xz yz yx zx zy: symmetric in the sum, as the energy is invariant to rotations.
        close(c[:6], s)
        close(c[6:], c[3:6])


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-6 * np.abs(expected).max())
