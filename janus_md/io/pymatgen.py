"""To and from pymatgen's ``Structure`` and ``Molecule``; pymatgen is imported only when these are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms, units
from ase.constraints import FixAtoms, FixScaled
from ase.data import atomic_numbers
from numpy.typing import NDArray

from janus_md.errors import UserError
from janus_md.io.electrons import electrons

if TYPE_CHECKING:
    from pymatgen.core import Molecule, Structure


def atoms_from_pymatgen(structure: Structure | Molecule) -> Atoms:
    """``ase.Atoms`` of an ordered structure (periodic as its lattice says) or molecule (not periodic).

    Charge and spin multiplicity go to ``info["charge"]`` and ``info["spin"]``: a molecule always has
    both, a structure its charge where it is not zero and its spin where ``properties["spin"]`` states one.
    A structure's site properties ``selective_dynamics`` and ``velocities`` (Å/fs), which pymatgen has from a POSCAR,
    become constraints and velocities.
    """
    _require_pymatgen()
    from pymatgen.core import Molecule

    if not structure.is_ordered:
        raise UserError(
            f"the pymatgen structure {structure.formula} has partly occupied sites; order it first"
        )
    symbols = [site.specie.symbol for site in structure]
    if unknown := sorted(set(symbols) - set(atomic_numbers)):
        raise UserError(
            f"the pymatgen structure {structure.formula} has sites of {', '.join(unknown)}, no element of ASE's;"
            " replace them"
        )
    if isinstance(structure, Molecule):
        atoms = Atoms(symbols, positions=structure.cart_coords)
        atoms.info.update(charge=float(structure.charge), spin=float(structure.spin_multiplicity))
        return atoms
    lattice = structure.lattice
    atoms = Atoms(symbols, positions=structure.cart_coords, cell=lattice.matrix, pbc=lattice.pbc)
    # Without a charge of its own it has that of its oxidation states, zero but for rounding.
    if charge := round(float(structure.charge), 8):
        atoms.info["charge"] = charge
    if spin := structure.properties.get("spin"):
        atoms.info["spin"] = float(spin)
    _take_motion(atoms, structure)
    return atoms


def pymatgen_from_atoms(atoms: Atoms) -> Structure | Molecule:
    """A ``Structure`` where any direction is periodic, else a ``Molecule``.

    Charge and spin multiplicity are those of ``info["charge"]`` and ``info["spin"]``; pymatgen's ``Structure``
    has no place for a spin but among its ``properties``; velocities and atoms fixed by ``FixAtoms`` or ``FixScaled``
    become the site properties of a POSCAR. Raises ``UserError`` where they are not numbers, and
    for a molecule whose number of electrons does not allow the multiplicity.
    """
    _require_pymatgen()
    from pymatgen.core import Lattice, Molecule, Structure

    symbols = atoms.get_chemical_symbols()
    charge, spin = electrons(atoms)
    if not atoms.pbc.any():
        try:
            return Molecule(symbols, atoms.positions, charge, _multiplicity(spin))
        except ValueError as fault:
            raise UserError(
                f"{atoms.get_chemical_formula()} cannot have charge {charge:g} and spin multiplicity {spin:g}; "
                'correct info["charge"] or info["spin"]'
            ) from fault
    lattice = Lattice(atoms.cell.complete().array, pbc=tuple(bool(flag) for flag in atoms.pbc))
    return Structure(
        lattice,
        symbols,
        atoms.positions,
        charge=charge or None,
        coords_are_cartesian=True,
        site_properties=_motion(atoms),
        properties={"spin": spin} if spin else None,
    )


def _take_motion(atoms: Atoms, structure: Structure) -> None:
    """Velocities and what is fixed; a site without such a property is at rest and free."""
    given = [site.properties for site in structure]
    moving = [properties.get("velocities") for properties in given]
    if any(velocity is not None for velocity in moving):
        rows = [np.zeros(3) if velocity is None else velocity for velocity in moving]
        atoms.set_velocities(np.array(rows, dtype=np.float64) / units.fs)
    free = [properties.get("selective_dynamics") for properties in given]
    fixed = ~np.array([3 * [True] if flags is None else flags for flags in free], dtype=bool)
    whole = fixed.all(axis=1)
    partly = np.flatnonzero(fixed.any(axis=1) & ~whole)
    constraints = [FixScaled(int(atom), fixed[atom], atoms.cell) for atom in partly]
    if whole.any():
        constraints.append(FixAtoms(np.flatnonzero(whole)))
    atoms.set_constraint(constraints)


def _motion(atoms: Atoms) -> dict[str, NDArray[np.generic]]:
    """Site properties of velocities and of what is fixed, those that say anything."""
    properties: dict[str, NDArray[np.generic]] = {}
    free = np.ones((len(atoms), 3), dtype=bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            free[constraint.index] = False
        elif isinstance(constraint, FixScaled):
            free[constraint.index] &= ~np.asarray(constraint.mask, dtype=bool)
    if not free.all():
        properties["selective_dynamics"] = free
    if atoms.has("momenta"):
        properties["velocities"] = atoms.get_velocities() * units.fs
    return properties


def _multiplicity(spin: float) -> int | None:
    """None where it is not stated (0): pymatgen then takes the lowest. ``ValueError`` for a fraction."""
    if not spin.is_integer():
        raise ValueError(f"a multiplicity of {spin:g}")
    return int(spin) or None


def _require_pymatgen() -> None:
    try:
        import pymatgen.core  # noqa: F401
    except ImportError:
        raise UserError(
            "pymatgen is not installed; install it with pip install 'janus-md[pymatgen]'"
        ) from None
