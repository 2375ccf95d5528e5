"""Results of a calculator beside what the atoms themselves say."""

from __future__ import annotations

from ase import Atoms


def without_doubles(atoms: Atoms) -> Atoms:
    """A copy with the same calculator, without what ``info`` and ``arrays`` call by the name of one of its results.

    Readers leave such names there (``.res`` files, data of databases); ASE's extxyz has room for one value of a name
    and refuses two.
    """
    copy = atoms.copy()
    copy.calc = atoms.calc
    for name in () if atoms.calc is None else atoms.calc.results:
        copy.info.pop(name, None)
        copy.arrays.pop(name, None)
    return copy
