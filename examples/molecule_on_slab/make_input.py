"""Water on the (100) face of rock salt, with zbl repulsion on top of the model at very short distances.

    janus-md export RUN -o salt-water.janus.pt --elements H O Na Cl
    python make_input.py salt-water.janus.pt --folder water-on-salt --steps 2000
    cd water-on-salt && janus-md lammps run -n 2 -- -in in.lmp

A model of several tasks, such as one of the recipe `universal`, needs one of them: --task mptrj.

Models see few atoms that are almost on top of each other. In dynamics that may bring atoms there (impact, high
temperatures) a universal repulsion that ends at 1.0 Å takes over where the model knows nothing.
"""

import argparse
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_numbers
from ase.spacegroup import crystal

from janus_md.lammps import write_data

INNER, OUTER = 0.5, 1.0
"""Å; the repulsion is switched off between them."""


def water_on_salt(cells: int, layers: int, height: float = 2.6) -> Atoms:
    """A slab of ``layers`` cubic cells, periodic in x and y, and one molecule above its middle."""
    salt = crystal(
        ["Na", "Cl"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[5.64] * 3 + [90] * 3
    )
    slab = salt * (cells, cells, layers)
    slab.pbc = (True, True, False)
    water = molecule("H2O")
    water.rotate(180, "x")
    top = slab.positions[slab.positions[:, 2] > slab.positions[:, 2].max() - 0.1]
    middle = slab.cell.sum(0)[:2] / 2
    site = top[np.argmin(np.linalg.norm(top[:, :2] - middle, axis=1))]
    water.translate(site + np.array([0, 0, height]) - water.positions[0])
    return slab + water


def lines(
    types: list[str], model: Path, task: str | None, steps: int, fixed_below: float
) -> list[str]:
    janus = f"janus task {task}" if task else "janus"
    zbl = [
        f"pair_coeff {i} {j} zbl {atomic_numbers[types[i - 1]]} {atomic_numbers[types[j - 1]]}"
        for i, j in combinations_with_replacement(range(1, len(types) + 1), 2)
    ]
    return [
        "units metal",
        "atom_style atomic",
        "boundary p p f",
        "read_data data.lmp",
        f"pair_style hybrid/overlay {janus} zbl {INNER} {OUTER}",
        f"pair_coeff * * janus '{model}' {' '.join(types)}",
        *zbl,
        "neighbor 1.0 bin",
        "timestep 0.0005",
        f"region below block INF INF INF INF INF {fixed_below:.3f}",
        "group fixed region below",
        "group mobile subtract all fixed",
        "velocity mobile create 300 2718",
        "fix bath mobile langevin 300 300 0.1 314",
        "fix move mobile nve",
        "compute model all pair janus",
        "compute repulsion all pair zbl",
        "thermo 100",
        "thermo_style custom step temp pe c_model c_repulsion",
        "dump trajectory all custom 100 trajectory.dump id element x y z",
        f"dump_modify trajectory sort id element {' '.join(types)}",
        f"run {steps}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", type=Path)
    parser.add_argument("--task", help="of a model that has several")
    parser.add_argument("--folder", type=Path, default=Path("water-on-salt"))
    parser.add_argument("--cells", type=int, default=3)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    atoms = water_on_salt(options.cells, options.layers)
    types = write_data(atoms, options.folder / "data.lmp")
    # The data file has the slab in the middle of its box, with 10 Å above and below.
    model = options.model.resolve()
    commands = lines(types, model, options.task, options.steps, fixed_below=11.0)
    (options.folder / "in.lmp").write_text("\n".join(commands) + "\n")


if __name__ == "__main__":
    main()
