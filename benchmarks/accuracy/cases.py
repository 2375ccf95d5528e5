"""The frames of every case: what all methods train on, watch and are tested on.

Labels are energies and forces: stresses and magnetic moments, which some sets have, are left out for everybody.
Where energies of isolated atoms are given they are subtracted, so that 18 keV of a molecule need not fit into float32.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ase.io
from ase.data import atomic_numbers

from janus_md.errors import UserError, nearest
from janus_md.io import Frame, read_frames, read_isolated_atoms
from janus_training.data import hold_out
from janus_training.references import fit_references

VALID_FRACTION = TEST_FRACTION = 0.1
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Case:
    """A data set. Without a ``test`` file a tenth of ``train`` is held out, by the trainer's own split.

    ``max_force`` (eV/Å, on any atom) drops frames before the split, as ``data.max_force`` of a recipe does.
    """

    title: str
    train: str
    test: str | None = None
    isolated: str | None = None
    max_force: float | None = None


def _mlearn(element: str, name: str) -> Case:
    return Case(
        f"{name} (mlearn)", f"mlearn/{element}-train.extxyz", f"mlearn/{element}-test.extxyz"
    )


def _molecule(name: str, title: str) -> Case:
    names = (f"molecules/{name}-{part}.extxyz" for part in ("train", "test", "isolated-atoms"))
    return Case(title, *names)


CASES = {
    "si": _mlearn("Si", "silicon"),
    "li": _mlearn("Li", "lithium"),
    "mo": _mlearn("Mo", "molybdenum"),
    "3bpa": _molecule("3bpa", "3BPA, 300 K"),
    "ethanol": _molecule("ethanol", "ethanol"),
    "hot-crystals": Case("hot crystals, 80 elements", "hot-crystals-1k.extxyz"),
    "mptrj": Case("MPtrj, 85 elements", "mptrj-1k.extxyz", max_force=10.0),
}


@dataclass
class Split:
    """Frames of one case; no frame is in two parts."""

    train: list[Frame]
    valid: list[Frame]
    test: list[Frame]

    @property
    def elements(self) -> list[str]:
        """Symbols in any part, by atomic number: every model is told all of them."""
        frames = [*self.train, *self.valid, *self.test]
        symbols = {symbol for frame in frames for symbol in set(frame.atoms.symbols)}
        return sorted(symbols, key=atomic_numbers.__getitem__)


def case_named(name: str) -> Case:
    if name not in CASES:
        raise UserError(f"case '{name}' is unknown{nearest(name, CASES)}")
    return CASES[name]


def split_case(case: Case, root: Path, seed: int = 0) -> Split:
    """Read and split; ``seed`` is ``data.seed`` of a recipe. Raises ``UserError`` where a file is missing."""
    rest = _read(root, case.train, case.max_force)
    if case.test is not None:
        test = _read(root, case.test, case.max_force)
    else:
        kept, held = hold_out(len(rest), TEST_FRACTION, [seed, 0])
        rest, test = [rest[i] for i in kept], [rest[i] for i in held]
    train, valid = hold_out(len(rest), VALID_FRACTION, [seed, 0])
    split = Split([rest[i] for i in train], [rest[i] for i in valid], test)
    if case.isolated is not None:
        atoms = read_isolated_atoms(_present(root, case.isolated))
        for part in PARTS:
            setattr(split, part, list(_without_atoms(getattr(split, part), atoms)))
    return split


def write_case(name: str, root: Path, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Write train, valid and test to ``folder`` as extxyz, once; returns what a job has to know of them."""
    facts = folder / "facts.json"
    wanted = {"case": name, "seed": seed}
    if facts.is_file():
        content = json.loads(facts.read_text())
        if {key: content.pop(key) for key in wanted} != wanted:
            raise UserError(f"{folder} holds frames of another seed; choose another folder with -o")
        return content
    split = split_case(case_named(name), root, seed)
    scratch = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for part in PARTS:
        frames = [frame.to_atoms() for frame in getattr(split, part)]
        ase.io.write(scratch / f"{part}.extxyz", frames, format="extxyz")
    content = {
        "elements": split.elements,
        "references": fit_references(split.train, split.elements, {}),
        "count": {part: len(getattr(split, part)) for part in PARTS},
    }
    (scratch / facts.name).write_text(json.dumps(wanted | content, indent=2) + "\n")
    scratch.rename(folder)
    return content


def _present(root: Path, path: str) -> Path:
    if not (root / path).is_file():
        raise UserError(f"{root / path} is missing; give the folder of the data sets with --data")
    return root / path


def _read(root: Path, path: str, limit: float | None) -> list[Frame]:
    frames = read_frames(_present(root, path))
    kept = [frame for frame in frames if limit is None or frame.max_force <= limit]
    return [replace(frame, stress=None, magmoms=None) for frame in kept]


def _without_atoms(frames: Iterable[Frame], atoms: dict[str, float]) -> Iterable[Frame]:
    for frame in frames:
        assert frame.energy is not None
        own = sum(atoms[symbol] for symbol in frame.atoms.symbols)
        yield replace(frame, energy=frame.energy - own)
