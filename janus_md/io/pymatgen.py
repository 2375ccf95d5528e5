"""To and from pymatgen's ``Structure`` and ``Molecule``; pymatgen is imported only when these are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase import Atoms

from janus_md.errors import UserError

if TYPE_CHECKING:
    from pymatgen.core import Molecule, Structure


def atoms_from_pymatgen(structure: Structure | Molecule) -> Atoms:
    """``ase.Atoms`` of an ordered structure (periodic as its lattice says) or molecule (not periodic).

    A molecule's charge and spin multiplicity go to ``info["charge"]`` and ``info["spin"]``.
    """
    _require_pymatgen()
    from pymatgen.core import Molecule

    if not structure.is_ordered:
        raise UserError(
            f"the pymatgen structure {structure.formula} has partly occupied sites; order it first"
        )
    symbols = [site.specie.symbol for site in structure]
    if isinstance(structure, Molecule):
        atoms = Atoms(symbols, positions=structure.cart_coords)
        atoms.info.update(charge=float(structure.charge), spin=float(structure.spin_multiplicity))
        return atoms
    lattice = structure.lattice
    return Atoms(symbols, positions=structure.cart_coords, cell=lattice.matrix, pbc=lattice.pbc)


def pymatgen_from_atoms(atoms: Atoms) -> Structure | Molecule:
    """A ``Structure`` where any direction is periodic, else a ``Molecule``."""
    _require_pymatgen()
    from pymatgen.core import Lattice, Molecule, Structure

    symbols = atoms.get_chemical_symbols()
    if not atoms.pbc.any():
        return Molecule(symbols, atoms.positions)
    lattice = Lattice(atoms.cell.complete().array, pbc=tuple(bool(flag) for flag in atoms.pbc))
    return Structure(lattice, symbols, atoms.positions, coords_are_cartesian=True)


def _require_pymatgen() -> None:
    try:
        import pymatgen.core  # noqa: F401
    except ImportError:
        raise UserError(
            "pymatgen is not installed; install it with pip install 'janus-md[pymatgen]'"
        ) from None
