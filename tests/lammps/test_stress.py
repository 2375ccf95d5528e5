"""Pressure and stress are derivatives of the energy by the box, as LAMMPS itself strains it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lammps_support.runs import BAR, completed, janus_pair, setup
from lammps_support.scenarios import thermo
from lammps_support.structures import salt

STEP = 1e-4
"""Strain; central differences of fourth order, so that rounding and the next order are below 1e-7."""

PLACES = (-2, -1, 1, 2)
WEIGHTS = np.array([1.0, -8.0, 8.0, -1.0]) / 12.0

# LAMMPS's order: xx yy zz xy xz yz. A tilt changes the upper triangle of the box.
SCALED = {"x": (0,), "y": (1,), "z": (2,), "x y z": (0, 1, 2)}
TILTED = {"xy": (3, 1), "xz": (4, 2), "yz": (5, 2)}


def energies_and_pressure(
    changes: list[tuple[str, str]], model: Path, folder: Path, ranks: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies in the changed boxes, and pressures (eV/Å³) and edges of the box as it is."""
    columns = "step pe c_p[1] c_p[2] c_p[3] c_p[4] c_p[5] c_p[6] lx ly lz"
    lines = [
        *setup(salt(), folder, janus_pair(model, ["Na", "Cl"])),
        "change_box all triclinic",
        "compute p all pressure NULL virial",
        f"thermo_style custom {columns}",
        "thermo_modify format float %.17g norm no",
        "run 0",
    ]
    for change, back in changes:
        lines += [f"change_box all {change} remap", "run 0", f"change_box all {back} remap"]
    log = completed(lines, folder, ranks)
    rows = np.array(
        [thermo(part)[0] for part in log.split("   Step ")[1:] if thermo("Step\n" + part)]
    )
    return rows[1:, 1], rows[0, 2:8] * BAR, rows[0, 8:]


@pytest.mark.parametrize("ranks", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_stress_is_the_derivative_by_strain(ranks: int, models: Path, tmp_path: Path) -> None:
    changes = []
    for axes in SCALED:
        for place in PLACES:
            factor = 1.0 + place * STEP
            changes.append(
                tuple(
                    " ".join(f"{axis} scale {f:.17g}" for axis in axes.split())
                    for f in (factor, 1.0 / factor)
                )
            )
    # Edges of the box of `salt`, which tilts refer to.
    edges = np.array([11.28, 5.64, 5.64])
    for axis, (_, height) in TILTED.items():
        for place in PLACES:
            changes.append(
                (f"{axis} final {place * STEP * edges[height]:.17g}", f"{axis} final 0.0")
            )
    energies, pressure, found_edges = energies_and_pressure(
        changes, models / "double.janus.pt", tmp_path, ranks
    )
    np.testing.assert_allclose(found_edges, edges)
    slopes = energies.reshape(-1, len(PLACES)) @ WEIGHTS / STEP / edges.prod()
    expected = [-pressure[list(parts)].sum() for parts in SCALED.values()]
    expected += [-pressure[part] for part, _ in TILTED.values()]
    np.testing.assert_allclose(slopes, expected, rtol=1e-6, atol=1e-6 * np.abs(pressure).max())
