"""The coefficient of linear expansion, from what in.expansion wrote: fit.py lattice.txt"""

import sys

import numpy as np

kelvin, lattice, _ = np.loadtxt(sys.argv[1], unpack=True, ndmin=2)
slope, start = np.polyfit(kelvin, lattice, 1)
for temperature, length in zip(kelvin, lattice, strict=True):
    print(f"{temperature:6.0f} K  {length:.4f} Å")
middle = start + slope * kelvin.mean()
print(
    f"coefficient of linear expansion at {kelvin.mean():.0f} K: {1e6 * slope / middle:.2f} 1e-6/K"
)
