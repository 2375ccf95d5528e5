"""Relax a pymatgen structure, then its equation of state: relax.py MODEL [OUT.json]

Needs pymatgen: pip install 'janus-md[pymatgen]', in a clone -e '.[pymatgen]'.
MODEL is any potential that knows silicon, for example the one of examples/silicon.
"""

import json
import sys

import numpy as np
from ase.eos import EquationOfState
from ase.units import GPa
from pymatgen.core import Lattice, Structure

from janus_md import JanusCalculator
from janus_md.calculators.relaxation import relax
from janus_md.io import pymatgen_from_atoms

model = sys.argv[1]
output = sys.argv[2] if len(sys.argv) > 2 else "relaxed.json"

# Diamond silicon, stretched and sheared, two atoms.
diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.55), ["Si"], [[0, 0, 0]])
strained = diamond.get_primitive_structure()
strained.apply_strain([0.02, -0.01, 0.0])

calculator = JanusCalculator(model)
atoms = calculator.from_structure(strained)
found = relax(atoms, cell=True, fmax=0.005, steps=200)
relaxed = pymatgen_from_atoms(found.atoms)
side = (relaxed.volume / len(relaxed) * 8) ** (1 / 3)
print(f"{found.steps} steps, {found.energy / len(relaxed):.4f} eV/atom, cubic lattice {side:.3f} Å")

volumes, energies = [], []
for scale in np.linspace(0.97, 1.03, 7):
    squeezed = found.atoms.copy()
    squeezed.set_cell(squeezed.cell * scale, scale_atoms=True)
    squeezed.calc = calculator
    volumes.append(squeezed.get_volume())
    energies.append(squeezed.get_potential_energy())
try:
    _, _, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    print(f"bulk modulus {modulus / GPa:.0f} GPa")
except (ValueError, RuntimeError):
    print("no minimum of the energy in this range of volumes: train the model for longer")

with open(output, "w") as stream:
    json.dump(relaxed.as_dict(), stream)
