"""Draw docs/droplet.png from the folder a quickstart left: python docs/draw_droplet.py quickstart-run"""

import sys
from pathlib import Path

import ase.io
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from janus_md import JanusCalculator
from janus_md.quickstart.droplet import thermodynamics, trajectory

BLUE, RED, GREY = "#1f5fa8", "#c0392b", "#b8bcc4"

folder = Path(sys.argv[1])
figure, (picture, parity, energy) = plt.subplots(
    1, 3, figsize=(11, 3.4), layout="constrained", width_ratios=[1, 1.05, 1.25]
)

# The last frame, far atoms first so that near ones cover them.
atoms = trajectory(folder)[-1]
atoms.positions -= atoms.positions.mean(axis=0)
for index in np.argsort(atoms.positions[:, 2]):
    x, y, z = atoms.positions[index]
    oxygen = atoms.symbols[index] == "O"
    shade = np.clip(0.75 + z / 24, 0.5, 1.0)
    picture.add_patch(
        plt.Circle(
            (x, y),
            0.95 if oxygen else 0.55,
            facecolor=[c * shade for c in matplotlib.colors.to_rgb(RED if oxygen else "#f2f2f2")],
            edgecolor="#333",
            linewidth=0.5,
        )
    )
reach = np.abs(atoms.positions[:, :2]).max() + 1.2
picture.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
picture.axis("off")
picture.set_title(f"{len(atoms) // 3} molecules moved by LAMMPS", fontsize=10)

calculator = JanusCalculator(folder / "water.janus.pt", device="cpu")
known, found = [], []
for frame in ase.io.read(folder / "data" / "test.extxyz", ":"):
    known.append(frame.get_forces().ravel())
    frame.calc = calculator
    found.append(frame.get_forces().ravel())
reference, model = np.concatenate(known), np.concatenate(found)
span = [reference.min(), reference.max()]
parity.plot(span, span, color=GREY, linewidth=1)
parity.plot(reference, model, ".", markersize=2, color=BLUE)
error = 1000 * np.abs(reference - model).mean()
parity.set(xlabel="GFN2-xTB force, eV/Å", ylabel="model, eV/Å")
parity.set_title(f"unseen clusters: {error:.0f} meV/Å", fontsize=10)

rows = thermodynamics(folder)
time = rows[:, 0] * 0.0005
for column, name, colour in ((2, "potential", GREY), (3, "total", BLUE)):
    per_atom = 1000 * (rows[:, column] - rows[0, column]) / len(atoms)
    energy.plot(time, per_atom, label=name, color=colour)
energy.set(xlabel="time, ps", ylabel="energy, meV/atom")
energy.set_title("constant energy", fontsize=10)
energy.legend(frameon=False)
figure.savefig(Path(__file__).with_name("droplet.png"), dpi=110)
