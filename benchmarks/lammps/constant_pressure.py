"""NPT in LAMMPS: whether the means of temperature and pressure meet their targets, with standard errors."""

from __future__ import annotations

import numpy as np

NPT = """
unfix move
fix hold all npt temp {temperature} {temperature} 0.05 iso {pressure} {pressure} 0.5
thermo {every}
thermo_style custom step time temp press density
thermo_modify format float %.12g
run {steps}
"""

EVERY = 10
"""Steps between samples."""

SETTLING = 0.25
"""Of the run, left out of the means."""

BLOCKS = 10
"""Their means count as independent: each is to be longer than the barostat's period of half a picosecond."""


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error from the means of blocks."""
    means = [block.mean() for block in np.array_split(values, BLOCKS)]
    return float(values.mean()), float(np.std(means, ddof=1) / len(means) ** 0.5)


def figures(rows: np.ndarray, temperature: float, pressure: float) -> dict[str, float]:
    """From the table that ``NPT`` prints; units K, bar, g/cm³."""
    settled = rows[int(SETTLING * len(rows)) :]
    result: dict[str, float] = {"npt_picoseconds": round(float(rows[-1, 1] - rows[0, 1]), 4)}
    for column, name, target in (
        (2, "temperature_K", temperature),
        (3, "pressure_bar", pressure),
        (4, "density_g_cm3", None),
    ):
        mean, error = mean_and_error(settled[:, column])
        result[f"npt_mean_{name}"] = round(mean, 5)
        result[f"npt_{name}_standard_error"] = round(error, 5)
        if target is not None:
            result[f"npt_{name}_target"] = target
            result[f"npt_{name}_errors_off_target"] = round((mean - target) / error, 2)
    return result
