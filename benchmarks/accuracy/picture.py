"""The picture: test error over wall time, a pair of panels per case."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cases import CASES
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from results import Entry, Results

COLOURS = {
    "ours": "black", "mace": "tab:blue", "sevennet": "tab:orange", "nequip": "tab:green", "chgnet": "tab:red",
    "deepmd": "tab:purple",
}  # fmt: skip
PANELS = {"force_mae": "forces, meV/Å", "energy_mae": "energy, meV/atom"}


def draw(results: Results, minutes: float, path: Path, threads: int = 1) -> None:
    """Columns are cases, rows forces and energies; both axes logarithmic. Dashed: the other settings of a package."""
    cases = {name: found for name in CASES if (found := results.of(name, minutes, threads))}
    size = (3.2 * len(cases) + 1.6, 6.0)
    figure, axes = plt.subplots(2, len(cases), figsize=size, squeeze=False, layout="constrained")
    for column, (name, entries) in enumerate(cases.items()):
        for axis, (key, label) in zip(axes[:, column], PANELS.items(), strict=True):
            for entry in chain.from_iterable(entries.values()):
                _line(axis, entry, key)
            axis.set(xscale="log", yscale="log", ylabel=label if column == 0 else "")
            axis.grid(alpha=0.3, which="both")
            for ticks in (axis.xaxis, axis.yaxis):
                ticks.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                ticks.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                ticks.set_minor_formatter(NullFormatter())
        axes[0, column].set_title(CASES[name].title, fontsize=10)
        axes[1, column].set_xlabel("minutes")
    lines = {line.get_label(): line for axis in axes[0] for line in axis.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _line(axis: plt.Axes, entry: Entry, key: str) -> None:
    package, _, other = entry.method.partition("-")
    axis.plot(
        [point["minutes"] for point in entry.points],
        [point[key] for point in entry.points],
        "--" if other else "-",
        color=COLOURS[package],
        marker=".",
        linewidth=2.2 if package == "ours" else 1.3,
        label=entry.method.replace("ours", "Janus-MD"),
    )
