"""The same molecule through each task of a model: compare_tasks.py MODEL

Total energies differ by the references of each level of theory; forces should not differ much.
"""

import sys

import numpy as np
from ase.build import molecule

from janus_md import JanusCalculator
from janus_md.export import load_exported

model = sys.argv[1]
ethanol = molecule("CH3CH2OH")
ethanol.rattle(0.05, seed=1)
print(f"{'task':<14} {'energy, eV':>14} {'rms force, eV/Å':>16}")
for task in load_exported(model).manifest.tasks:
    ethanol.calc = JanusCalculator(model, task=task)
    force = np.sqrt((ethanol.get_forces() ** 2).mean())
    print(f"{task:<14} {ethanol.get_potential_energy():14.4f} {force:16.4f}")
