"""`report.html`: what the quickstart did and how good it is, in one self-contained page."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from janus_md.calculators.ase import JanusCalculator
from janus_md.quickstart import droplet as drop
from janus_md.quickstart.water import METHOD, gfn2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from janus_md.quickstart.path import Size

CHECKED_FRAMES = 4
_STYLE = (
    "body{font-family:system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.35em .8em;text-align:left}"
    "img{max-width:100%}pre{background:#f4f4f4;padding:1em;overflow:auto}"
)


def write_report(folder: Path, size: Size, commands: list[str]) -> Path:
    """Evaluate what the run left in ``folder`` and write the page."""
    calculator = JanusCalculator(folder / "water.janus.pt", device="cpu")
    rows = drop.thermodynamics(folder)
    frames = drop.trajectory(folder)
    errors = json.loads((folder / "errors.json").read_text())[0]
    facts = [
        ("training frames", f"{size.frames} water clusters of 1 to 12 molecules, {METHOD}"),
        ("energy error on unseen clusters", f"{errors['energy_mae']:.2f} meV/atom (MAE)"),
        ("force error on unseen clusters", f"{errors['force_mae']:.1f} meV/Å (MAE)"),
        *_engine_facts(folder, calculator, size.ranks),
        ("energy drift in LAMMPS", f"{drop.drift(rows, len(frames[0])):.2f} µeV/atom/ps (0.5 fs)"),
        (
            f"force error along the droplet's dynamics ({size.molecules} molecules)",
            f"{_force_error(frames, calculator):.1f} meV/Å (MAE against {METHOD})",
        ),
    ]
    figures = [
        ("Forces on unseen clusters", _parity(folder, calculator)),
        ("The droplet in LAMMPS at constant energy", _energies(rows)),
        ("Where the neighbours of an oxygen are", _distances(folder, frames)),
    ]
    body = [
        "<h1>Janus-MD quickstart</h1>",
        f"<p>A small MatRIS-MoE learnt {METHOD} for water in {size.train_minutes:g} minutes and drove"
        f" a droplet of {size.molecules} molecules in LAMMPS on {size.ranks} ranks.</p>",
        _table(facts),
        *(f"<h2>{title}</h2>{_image(figure)}" for title, figure in figures),
        "<h2>Commands</h2>",
        f"<pre>{html.escape(chr(10).join(commands))}</pre>",
        '<p>Learning curves and errors by element: <a href="run/report.html">run/report.html</a>.</p>',
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Janus-MD quickstart'
        f"</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    report = folder / "report.html"
    report.write_text(page, encoding="utf-8")
    return report


def _engine_facts(folder: Path, calculator: JanusCalculator, ranks: int) -> list[tuple[str, str]]:
    start = ase.io.read(folder / "droplet.data", format="lammps-data", atom_style="atomic")
    start.pbc = False
    start.calc = calculator
    in_ase = start.get_potential_energy()
    facts = [("energy of the relaxed droplet, ASE", f"{in_ase:.6f} eV")]
    for count in sorted({1, ranks}):
        energy = drop.start_energy(folder, count)
        noun = "rank" if count == 1 else "ranks"
        facts.append(
            (
                f"the same in LAMMPS on {count} {noun}",
                f"{energy:.6f} eV ({1e6 * abs(energy - in_ase) / len(start):.3f} µeV/atom apart)",
            )
        )
    return facts


def _force_error(frames: list[Atoms], calculator: JanusCalculator) -> float:
    """MAE in meV/Å against the method that made the labels, on frames from LAMMPS."""
    differences = []
    for frame in frames[:: max(1, len(frames) // CHECKED_FRAMES)]:
        forces = []
        for judge in (gfn2(), calculator):
            frame.calc = judge
            forces.append(frame.get_forces())
        differences.append(np.abs(forces[0] - forces[1]).ravel())
    return float(1000 * np.concatenate(differences).mean())


def _parity(folder: Path, calculator: JanusCalculator) -> Figure:
    known, found = [], []
    for frame in ase.io.read(folder / "data" / "test.extxyz", ":"):
        known.append(frame.get_forces().ravel())
        frame.calc = calculator
        found.append(frame.get_forces().ravel())
    figure, axes = _figure()
    reference, model = np.concatenate(known), np.concatenate(found)
    span = [reference.min(), reference.max()]
    axes.plot(span, span, color="#bbb", linewidth=1)
    axes.plot(reference, model, ".", markersize=2, color="#1f5fa8")
    axes.set(xlabel=f"{METHOD}, eV/Å", ylabel="model, eV/Å")
    return figure


def _energies(rows: NDArray[np.float64]) -> Figure:
    figure, axes = _figure()
    time = rows[:, 0] * 0.0005
    for column, name in ((2, "potential"), (3, "total")):
        axes.plot(time, 1000 * (rows[:, column] - rows[0, column]), label=name)
    axes.set(xlabel="time, ps", ylabel="energy less its first value, meV")
    axes.legend(frameon=False)
    return figure


def _distances(folder: Path, frames: list[Atoms]) -> Figure:
    figure, axes = _figure()
    training = ase.io.read(folder / "data" / "train.extxyz", ":")
    sources = ((f"{METHOD}, training clusters", training), ("model, droplet in LAMMPS", frames))
    for label, structures in sources:
        lengths = np.concatenate([_oxygen_distances(atoms) for atoms in structures])
        axes.hist(
            lengths, bins=np.linspace(2.2, 6.0, 60), density=True, histtype="step", label=label
        )
    axes.set(xlabel="O–O distance, Å", ylabel="share per Å")
    axes.legend(frameon=False)
    return figure


def _oxygen_distances(atoms: Atoms) -> NDArray[np.float64]:
    oxygen = atoms.positions[atoms.symbols == "O"]
    upper = np.triu_indices(len(oxygen), k=1)
    return np.linalg.norm(oxygen[:, None] - oxygen[None], axis=-1)[upper]


def _figure() -> tuple[Figure, Any]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(6.4, 3.8), layout="constrained")


def _image(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130)
    return (
        f'<img alt="" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'
    )


def _table(facts: list[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in facts
    )
    return f"<table>{rows}</table>"
