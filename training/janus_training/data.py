"""From the data sets of a recipe to frames for training and validation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ase.data import atomic_numbers

from janus_md.errors import UserError
from janus_md.io import Frame, read_frames, read_isolated_atoms
from janus_md.io.split import split_shares
from janus_training.config import DataConfig, SetConfig

DEFAULT_TASK = "default"
"""Of frames whose task neither recipe nor file states."""


@dataclass
class Frames:
    """What a run learns from.

    ``isolated`` holds the reference energies (eV) that files of isolated atoms give, by task and
    element; ``dropped`` the number of frames left out for their forces, by file.
    """

    train: list[Frame] = field(default_factory=list)
    valid: list[Frame] = field(default_factory=list)
    isolated: dict[tuple[str, str], float] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks in the order in which training frames have them."""
        return list(dict.fromkeys(frame.task for frame in self.train))

    @property
    def elements(self) -> list[str]:
        """Symbols of all elements that frames have, by atomic number.

        Not of isolated atoms alone: nothing of an element is learnt from its reference energy.
        """
        symbols = {s for frame in [*self.train, *self.valid] for s in set(frame.atoms.symbols)}
        return sorted(symbols, key=atomic_numbers.__getitem__)


@dataclass(frozen=True)
class HeldOut:
    """What the first set of a file, number ``by``, takes from it to validate on: ``share`` of its frames."""

    by: int
    share: float
    members: set[tuple[str, int]]


def load_frames(config: DataConfig) -> Frames:
    """Read every set and split it; raises ``UserError`` where a file or label is at fault."""
    if not Path(config.root).is_dir():
        raise UserError(
            f"data.root '{config.root}' is not a folder here; give the right one with "
            "--set data.root=DIR"
        )
    frames = Frames()
    held_out: dict[Path, HeldOut] = {}
    for number in range(len(config.sets)):
        _add_set(frames, config, number, held_out)
    if not frames.train:
        raise UserError("no frame is left to train on; check data.sets and data.max_force")
    strangers = {frame.task for frame in frames.valid} - set(frames.tasks)
    if strangers:
        raise UserError(
            f"task '{min(strangers)}' has validation frames only; give it training data"
        )
    return frames


def hold_out(count: int, fraction: float, seed: list[int]) -> tuple[list[int], list[int]]:
    """Indices for training and for validation; none for validation where ``fraction`` is 0."""
    if fraction == 0 or count < 2:
        return list(range(count)), []
    train, valid = split_shares(count, [1.0 - fraction, fraction], seed)
    return train, valid


def check_elements(frames: Iterable[Frame], elements: list[str]) -> None:
    """Raise ``UserError`` for the first frame with an element that the model lacks."""
    known = set(elements)
    for frame in frames:
        missing = set(frame.atoms.symbols) - known
        if missing:
            raise UserError(
                f"{frame.where} has the element {min(missing)}, which model.elements lacks; "
                "add it there or leave model.elements out"
            )


def _add_set(
    frames: Frames, config: DataConfig, number: int, held_out: dict[Path, HeldOut]
) -> None:
    one = config.sets[number]

    def file(key: str) -> Path:
        path = config.locate(getattr(one, key))
        if not path.exists():
            raise UserError(f"{path} does not exist; correct data.sets.{number}.{key} or data.root")
        return path

    limit = one.max_force or config.max_force
    members = _read(frames, file("path"), one, limit)
    if one.valid is not None:
        frames.train += members
        frames.valid += _read(frames, file("valid"), one, limit)
    else:
        train, valid = _split(members, config, number, held_out)
        frames.train += train
        frames.valid += valid
    if one.isolated_atoms is not None and members:
        energies = read_isolated_atoms(file("isolated_atoms"), one.keys.label_keys())
        task = _only_task(members, number)
        for symbol, energy in energies.items():
            if frames.isolated.setdefault((task, symbol), energy) != energy:
                raise UserError(
                    f"data.sets.{number}.isolated_atoms gives {symbol} an energy of {energy:g} eV where another set of "
                    f"task '{task}' has {frames.isolated[task, symbol]:g}; give both the same file"
                )


def _only_task(members: list[Frame], number: int) -> str:
    tasks = sorted({frame.task for frame in members})
    if len(tasks) > 1:
        raise UserError(
            f"data.sets.{number}.isolated_atoms is of one task, but its frames state {' and '.join(tasks)}; "
            "give each task a file and a set of its own"
        )
    return tasks[0]


def _split(
    members: list[Frame], config: DataConfig, number: int, held_out: dict[Path, HeldOut]
) -> tuple[list[Frame], list[Frame]]:
    """Frames for training and validation; those of one file are the same in every set that it is split for.

    Else one task would train on the structures that another validates on.
    """
    one = config.sets[number]
    share = config.valid_fraction if one.valid_fraction is None else one.valid_fraction
    path = config.locate(one.path)
    # What a frame is called does not depend on how the recipe writes its path.
    names = [(frame.source.removeprefix(str(path)), frame.index) for frame in members]
    if path.resolve() not in held_out:
        _, chosen = hold_out(len(members), share, [config.seed, number])
        held_out[path.resolve()] = HeldOut(number, share, {names[index] for index in chosen})
    first = held_out[path.resolve()]
    if first.share != share:
        raise UserError(
            f"data.sets.{number} holds out {share:g} of {path} and data.sets.{first.by} {first.share:g} of it, "
            "so one would train on what the other validates on; give both one valid_fraction"
        )
    named = list(zip(names, members, strict=True))
    train = [frame for name, frame in named if name not in first.members]
    valid = [frame for name, frame in named if name in first.members]
    return train, valid


def _read(frames: Frames, path: Path, one: SetConfig, limit: float | None) -> list[Frame]:
    members = read_frames(path, one.task or "", one.keys.label_keys())
    for frame in members:
        frame.task = frame.task or DEFAULT_TASK
    kept = [frame for frame in members if limit is None or frame.max_force <= limit]
    if len(kept) < len(members):
        frames.dropped[str(path)] = len(members) - len(kept)
    return kept
