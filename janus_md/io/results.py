"""Results of a calculator beside what the atoms themselves say."""

from __future__ import annotations

from ase import Atoms


def drop_doubles(atoms: Atoms) -> None:
    """Remove, in place, what ``info`` and ``arrays`` call by the name of one of the calculator's results.

    Readers leave such names there (``.res`` files, data of databases); ASE's extxyz has room for one value of a name
    and refuses two.
    """
    for name in () if atoms.calc is None else atoms.calc.results:
        atoms.info.pop(name, None)
        atoms.arrays.pop(name, None)
