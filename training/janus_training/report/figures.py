"""Plots of a run as matplotlib figures. No global state of matplotlib is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from janus_training.evaluate import Result
from janus_training.report.sharing import Sharing

UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³", "magmoms": "Bohr magnetons"}
MOST_POINTS = 20_000
MOST_LABELS = 60


def learning_curves(rows: Sequence[dict[str, Any]]) -> Figure:
    """Loss and learning rate against steps on the left, validation errors per task on the right."""
    train = [row for row in rows if row["kind"] == "train"]
    valid = [row for row in rows if row["kind"] == "valid"]
    names = [name for name in UNITS if any(row.get(name) is not None for row in valid)]
    figure = Figure(figsize=(4.0 * (1 + len(names)), 3.4), layout="constrained")
    axes = figure.subplots(1, 1 + len(names), squeeze=False)[0]
    steps = [row["step"] for row in train]
    losses = np.array([row["loss"] for row in train])
    axes[0].plot(steps, losses, color="0.8", linewidth=0.6)
    axes[0].plot(steps, smooth(losses), label="loss, smoothed")
    axes[0].plot(steps, [row["lr"] for row in train], label="learning rate")
    axes[0].set(xlabel="step", yscale="log", title="training")
    axes[0].legend()
    for axis, name in zip(axes[1:], names, strict=True):
        for task in dict.fromkeys(row["task"] for row in valid):
            points = [
                (r["step"], r[name]) for r in valid if r["task"] == task and r.get(name) is not None
            ]
            if points:
                axis.plot(*zip(*points, strict=True), marker=".", label=task)
        axis.set(xlabel="step", ylabel=f"MAE ({UNITS[name]})", yscale="log", title=name)
        axis.legend()
    return figure


def parity(task: str, results: Sequence[Result]) -> Figure | None:
    """Prediction against label of everything labelled in one task; None where nothing is."""
    pairs = [(name, *values) for name, values in _pairs(results).items() if len(values[0])]
    if not pairs:
        return None
    figure = Figure(figsize=(3.6 * len(pairs), 3.6), layout="constrained")
    figure.suptitle(task)
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axis, (name, label, found) in zip(axes, pairs, strict=True):
        shown = _shown(len(label))
        axis.plot(label[shown], found[shown], ".", markersize=2, alpha=0.5, rasterized=True)
        ends = [min(label.min(), found.min()), max(label.max(), found.max())]
        axis.plot(ends, ends, color="black", linewidth=0.6)
        axis.set(xlabel=f"label ({UNITS[name]})", ylabel="model", title=name)
    return figure


def errors_by_element(results: Sequence[Result]) -> Figure | None:
    """Force MAE on the atoms of each element; None where no forces are labelled."""
    errors: dict[str, list[NDArray[np.float64]]] = {}
    for result in results:
        if result.frame.forces is None:
            continue
        differences = np.abs(result.forces - result.frame.forces).mean(axis=1)
        symbols = np.array(result.frame.atoms.get_chemical_symbols())
        for symbol in set(symbols):
            errors.setdefault(symbol, []).append(differences[symbols == symbol])
    if not errors:
        return None
    means = {symbol: float(np.concatenate(parts).mean()) for symbol, parts in errors.items()}
    order = sorted(means, key=means.__getitem__, reverse=True)
    figure = Figure(figsize=(max(3.0, 0.2 * len(order) + 1.5), 3.2), layout="constrained")
    axis = figure.subplots()
    axis.bar(range(len(order)), [1000 * means[symbol] for symbol in order])
    axis.set_xticks(range(len(order)), order, fontsize=8, rotation=90 if len(order) > 20 else 0)
    axis.set(ylabel="force MAE (meV/Å)", title="errors by element")
    axis.margins(x=0.01)
    return figure


def sharing_map(sharing: Sharing) -> Figure:
    """Heat map of how much of their expert weights two elements share."""
    count = len(sharing.elements)
    size = min(3.5 + 0.12 * count, 12.0)
    figure = Figure(figsize=(size + 1.0, size), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(sharing.overlap, vmin=0.0, vmax=1.0, cmap="viridis")
    stride = 1 + (count - 1) // MOST_LABELS
    places = range(0, count, stride)
    labels = [sharing.elements[place] for place in places]
    axis.set_xticks(places, labels, fontsize=7, rotation=90)
    axis.set_yticks(places, labels, fontsize=7)
    axis.set_title("which elements share experts")
    figure.colorbar(image, ax=axis, label="shared weight of routed experts", shrink=0.8)
    return figure


def smooth(values: NDArray[np.float64], share: float = 0.02) -> NDArray[np.float64]:
    """Running mean over a share of the curve, shorter at its beginning."""
    width = max(1, int(share * len(values)))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - width, 0)
    mean: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return mean


def _shown(count: int) -> NDArray[np.int64]:
    """Places of the points to draw, drawn at random: at equal steps one would meet the same components all along."""
    return np.random.default_rng(0).permutation(count)[:MOST_POINTS]


def _pairs(
    results: Sequence[Result],
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Label and prediction, flat, by kind."""
    energies = [r for r in results if r.frame.energy is not None]
    forces = [r for r in results if r.frame.forces is not None]
    stresses = [r for r in results if r.frame.stress is not None and r.stress is not None]
    moments = [r for r in results if r.frame.magmoms is not None and r.magmoms is not None]

    def flat(parts: Sequence[Any]) -> NDArray[np.float64]:
        return np.concatenate([np.ravel(part) for part in parts]) if parts else np.zeros(0)

    return {
        "energy": (
            flat([r.frame.energy / len(r.frame.atoms) for r in energies]),  # type: ignore[operator]
            flat([r.energy / len(r.frame.atoms) for r in energies]),
        ),
        "forces": (flat([r.frame.forces for r in forces]), flat([r.forces for r in forces])),
        "stress": (flat([r.frame.stress for r in stresses]), flat([r.stress for r in stresses])),
        "magmoms": (
            np.abs(flat([r.frame.magmoms for r in moments])),
            flat([r.magmoms for r in moments]),
        ),
    }
