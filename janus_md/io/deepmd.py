"""DeePMD-kit's layout: ``type.raw``, ``type_map.raw`` and ``set.*/{coord,box,energy,force,virial}.npy``.

Lengths in Å and energies in eV already. DeePMD's virial is −volume · stress in ASE's sign.
A file ``nopbc`` beside ``type.raw`` marks a system without periodicity; ``real_atom_types.npy``
(the "mixed" layout, −1 for a place that is not filled) gives each frame its own types.
There is no place for periodicity in one or two directions, charge, spin, magnetic moments or the task.
Reference: https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import NDArray

from janus_md.errors import UserError
from janus_md.io.ase_labels import LabelKeys
from janus_md.io.frames import Floats, Frame, check


def deepmd_systems(folder: Path) -> list[Path]:
    """The system folders at or under ``folder``, sorted; empty where there is none."""
    return sorted(file.parent for file in folder.rglob("type.raw"))


def read_deepmd(folder: Path, keys: LabelKeys | None = None, task: str = "") -> Iterator[Frame]:
    """Frames of one system, numbered from 0 through its sets in order of name.

    Labels have names of their own there: ``keys`` can only leave some out (``"ignore"``).
    Raises ``UserError`` for any other key.
    """
    ignored = _ignored(keys or LabelKeys(), folder)
    types, symbols = _types(folder)
    periodic = not (folder / "nopbc").exists()
    sets = sorted(folder.glob("set.*"))
    if not sets:
        raise UserError(
            f"{folder} has a type.raw but no set.* folder; check that the data are complete"
        )
    index = 0
    for part in sets:
        for frame in _read_set(part, types, symbols, periodic, task):
            frame.source, frame.index = str(folder), index
            for label in ignored:
                setattr(frame, label, None)
            yield check(frame)
            index += 1


def _ignored(keys: LabelKeys, folder: Path) -> list[str]:
    """Labels to leave out; the virial is the only stress there is."""
    given = {name: key for name, key in asdict(keys).items() if key is not None}
    for name, key in given.items():
        if key != "ignore":
            raise UserError(
                f"{folder} is DeePMD data, whose labels have names of their own: {name}={key} means nothing there;"
                f" leave it out, or give {name}=ignore"
            )
    return ["stress" if name == "virial" else name for name in given]


def _types(folder: Path) -> tuple[NDArray[np.int64], list[str]]:
    map_file = folder / "type_map.raw"
    if not map_file.exists():
        raise UserError(
            f"{map_file} is missing; write the element symbols of the types into it, one a line"
        )
    try:
        types = np.loadtxt(folder / "type.raw", dtype=np.int64, ndmin=1)
    except ValueError:
        raise UserError(
            f"{folder / 'type.raw'} must hold one whole number per atom; mend it"
        ) from None
    return types, map_file.read_text().split()


def _read_set(
    part: Path, types: NDArray[np.int64], symbols: list[str], periodic: bool, task: str
) -> Iterator[Frame]:
    atoms_per_frame = len(types)
    coordinates = _load(part / "coord.npy", (atoms_per_frame, 3), None)
    if coordinates is None:
        raise UserError(f"{part / 'coord.npy'} is missing; a DeePMD set needs it")
    frames = len(coordinates)
    boxes = _load(part / "box.npy", (3, 3), frames)
    if boxes is None and periodic:
        raise UserError(f"{part / 'box.npy'} is missing; add it, or a file 'nopbc' beside type.raw")
    energies = _load(part / "energy.npy", (), frames)
    forces = _load(part / "force.npy", (atoms_per_frame, 3), frames)
    virials = _load(part / "virial.npy", (3, 3), frames)
    mixed = _load(part / "real_atom_types.npy", (atoms_per_frame,), frames)
    for number in range(frames):
        own = types if mixed is None else mixed[number].astype(np.int64)
        real = own >= 0
        atoms = Atoms(
            [_symbol(symbols, kind, part) for kind in own[real]],
            positions=coordinates[number][real],
            cell=None if boxes is None or not periodic else boxes[number],
            pbc=periodic,
        )
        frame = Frame(atoms, task=task)
        if energies is not None:
            frame.energy = float(energies[number])
        if forces is not None:
            frame.forces = forces[number][real]
        if virials is not None and frame.volume > 0:
            frame.stress = -virials[number] / frame.volume
        yield frame


def _symbol(symbols: list[str], kind: int, part: Path) -> str:
    if kind >= len(symbols):
        raise UserError(
            f"{part.parent}: type {kind} has no symbol in type_map.raw, which names {len(symbols)}; add it"
        )
    if symbols[kind] not in atomic_numbers:
        raise UserError(
            f"{part.parent / 'type_map.raw'} names type {kind} '{symbols[kind]}', which is no element;"
            " write element symbols"
        )
    return symbols[kind]


def _load(file: Path, shape: tuple[int, ...], frames: int | None) -> Floats | None:
    """[frames, *shape] in float64, or None where the file is absent."""
    if not file.exists():
        return None
    try:
        values: Floats = np.load(file, allow_pickle=False).astype(np.float64)
        values = values.reshape((-1, *shape))
    except (ValueError, EOFError, OSError) as fault:
        raise UserError(
            f"{file} could not be read as frames of shape {shape} ({fault}); check it"
        ) from fault
    if frames is not None and len(values) != frames:
        raise UserError(
            f"{file} holds {len(values)} frames where coord.npy holds {frames}; check it"
        )
    return values


def write_deepmd(folder: Path, frames: list[Frame]) -> None:
    """One system folder per composition and label set under ``folder`` (itself, where there is only one).

    Raises ``UserError`` for a frame with something that the layout has no place for.
    """
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for frame in frames:
        _refuse_what_would_be_lost(frame)
        labelled = tuple(value is not None for value in (frame.energy, frame.forces, frame.stress))
        key = (tuple(frame.atoms.get_chemical_symbols()), bool(frame.atoms.pbc.all()), labelled)
        groups.setdefault(key, []).append(frame)
    for number, members in enumerate(groups.values()):
        _write_system(folder if len(groups) == 1 else folder / f"system.{number:04d}", members)


def _refuse_what_would_be_lost(frame: Frame) -> None:
    pbc = frame.atoms.pbc
    if pbc.any() and not pbc.all():
        raise UserError(
            f"{frame.where} is periodic along {' and '.join(np.array(list('abc'))[pbc])} only, and DeePMD data are "
            "periodic in all directions or in none; write .extxyz, .db or .aselmdb"
        )
    lost = [*frame.facts, *(["magmoms"] if frame.magmoms is not None else [])]
    if lost:
        raise UserError(
            f"{frame.where} has {', '.join(lost)}, which DeePMD data have no place for; "
            "write .extxyz, .db or .aselmdb, or remove them"
        )


def _write_system(folder: Path, frames: list[Frame]) -> None:
    first = frames[0].atoms
    symbols = first.get_chemical_symbols()
    names = sorted(set(symbols))
    part = folder / "set.000"
    part.mkdir(parents=True, exist_ok=True)
    (folder / "type_map.raw").write_text("\n".join(names) + "\n")
    (folder / "type.raw").write_text(
        "\n".join(str(names.index(symbol)) for symbol in symbols) + "\n"
    )
    if first.pbc.all():
        np.save(part / "box.npy", np.stack([frame.atoms.cell.array.ravel() for frame in frames]))
    else:
        (folder / "nopbc").touch()
    np.save(part / "coord.npy", np.stack([frame.atoms.positions.ravel() for frame in frames]))
    labels = {
        "energy": [frame.energy for frame in frames if frame.energy is not None],
        "force": [frame.forces.ravel() for frame in frames if frame.forces is not None],
        "virial": [
            -frame.volume * frame.stress.ravel() for frame in frames if frame.stress is not None
        ],
    }
    for name, values in labels.items():
        if values:
            np.save(part / f"{name}.npy", np.array(values))
