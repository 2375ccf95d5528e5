"""Draw the radial distribution that LAMMPS averaged: plot_rdf.py rdf.txt rdf.png"""

import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

source, target = sys.argv[1:]
with open(source) as stream:
    lines = [line.split() for line in stream if not line.startswith("#")]
# Each block begins with a line of step and length; averages run, and the last block is the whole.
rows = np.array([fields for fields in lines if len(fields) == 3], dtype=float)
distance, density = rows[:, 1], rows[:, 2]
print(f"first peak of g(r): {distance[density.argmax()]:.2f} Å, height {density.max():.2f}")

plt.figure(figsize=(6, 3.6), layout="constrained")
plt.plot(distance, density, color="#1f5fa8")
plt.axhline(1.0, color="#bbb", linewidth=1)
plt.xlabel("distance, Å")
plt.ylabel("g(r) of liquid silicon")
plt.savefig(target, dpi=150)
