"""Structures in and out, in every format that ASE and pymatgen know.

pymatgen is imported only for what ASE cannot read and for its own JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ase import Atoms

from janus_md.errors import UserError
from janus_md.io.lammps_types import refuse_nameless_types
from janus_md.io.occupancy import refuse_disorder
from janus_md.io.pymatgen import atoms_from_pymatgen, pymatgen_from_atoms
from janus_md.io.results import drop_doubles


def read_structure(path: str | Path) -> Atoms:
    """Read the last structure of a file.

    Raises ``UserError`` for a missing file, for one that neither ASE nor pymatgen can read and for a CIF with partly
    occupied sites.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist: check the name of the structure file")
    if _holds_pymatgen_json(path):
        return atoms_from_pymatgen(_load_pymatgen_json(path))
    try:
        atoms = _read_with_ase(path)
    except UserError:
        raise
    except Exception as ase_error:  # each of ASE's readers fails in its own way
        try:
            return atoms_from_pymatgen(_read_with_pymatgen(path))
        except UserError:
            raise
        except Exception:
            reason = str(ase_error).strip().splitlines()
            raise UserError(
                f"neither ASE nor pymatgen can read a structure from {path}"
                f" ({reason[0] if reason else type(ase_error).__name__}): check its format and ending"
            ) from ase_error
    refuse_disorder(atoms, str(path))
    refuse_nameless_types(atoms, path)
    return atoms


def write_structure(path: str | Path, atoms: Atoms) -> None:
    """Write one structure; ``.json`` is pymatgen's, every other ending ASE's or else pymatgen's."""
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    path = Path(path)
    if path.suffix == ".json":
        path.write_text(json.dumps(pymatgen_from_atoms(atoms).as_dict()))
        return
    try:
        # Without masses a data file does not say which elements its types are.
        options = {"masses": True} if path.suffix == ".lammps-data" else {}
        own = atoms.copy()
        own.calc = atoms.calc
        drop_doubles(own)
        ase.io.write(path, own, **options)
    except UnknownFileTypeError:
        try:
            pymatgen_from_atoms(atoms).to(filename=str(path))
        except (ValueError, TypeError) as error:
            raise UserError(
                f"neither ASE nor pymatgen knows a format for {path.name}:"
                " choose an ending such as .cif or .extxyz"
            ) from error


def check_writable(path: str | Path, atoms: Atoms) -> None:
    """Raise ``UserError`` for an ending nothing can write, or whose format cannot hold ``atoms``: ahead of the work."""
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats

    path = Path(path)
    if path.suffix not in {".json", ".mcif", ".cssr", ".yaml"}:
        try:
            name = filetype(path.name, read=False)
        except UnknownFileTypeError:
            name = ""
        if name not in ioformats:
            raise UserError(
                f"no format is known for {path.name}: choose an ending such as .cif or .extxyz"
            )
        if not ioformats[name].can_write:
            raise UserError(
                f"{path.name} is of a format that can only be read: choose .cif or .extxyz"
            )
    try_to_write(path, atoms, lambda scratch: write_structure(scratch, atoms))


def try_to_write(path: Path, atoms: Atoms, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a scratch file of the same name; ``UserError`` where that fails."""
    with TemporaryDirectory() as folder:
        try:
            write(Path(folder) / path.name)
        except UserError:
            raise
        except Exception as fault:  # each of ASE's writers fails in its own way
            reason = str(fault).strip().splitlines()
            raise UserError(
                f"{atoms.get_chemical_formula()} cannot be written to {path.name}"
                f" ({reason[0] if reason else type(fault).__name__}): choose another format, such as .extxyz"
            ) from fault


def _read_with_ase(path: Path) -> Atoms:
    import ase.io

    # ASE does not tell LAMMPS's data files by name or content.
    data = path.suffix in (".lmp", ".lammps-data")
    atoms = ase.io.read(path, format="lammps-data" if data else None)
    if isinstance(atoms, list):
        atoms = atoms[-1]
    if len(atoms) == 0:
        raise UserError(f"{path} holds a structure without atoms: give one with some")
    return atoms


def _read_with_pymatgen(path: Path) -> Any:
    from pymatgen.core import Molecule, Structure

    try:
        return Structure.from_file(str(path))
    except Exception:  # pymatgen's readers fail in many ways; the molecule is the second try
        return Molecule.from_file(str(path))


def _holds_pymatgen_json(path: Path) -> bool:
    if path.suffix != ".json":
        return False
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not valid JSON at line {error.lineno}, column {error.colno}:"
            " mend it there, or write the structure again"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: write the structure again") from error
    return isinstance(content, dict) and "sites" in content


def _load_pymatgen_json(path: Path) -> Any:
    from pymatgen.core import Molecule, Structure

    content = json.loads(path.read_text())
    kind = Structure if "lattice" in content else Molecule
    try:
        return kind.from_dict(content)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is not a structure as pymatgen writes it ({error}): write it again"
        ) from error
