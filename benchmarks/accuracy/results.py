"""The file of results: one entry per case, method, wall time, threads and seed; and the table made of it."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cases import CASES

from janus_md.errors import UserError

FILE = "accuracy.json"
Key = tuple[str, str, float, int, int]
"""Case, method, minutes, threads, seed."""
PEERS = {
    "mace": "mace", "sevennet": "sevenn", "nequip": "nequip", "chgnet": "chgnet", "deepmd": "deepmd",
}  # fmt: skip
"""Name of a peer and the module that its interpreter must be able to import."""
OURS = ("ours", "ours-compiled", "ours-fast")
TUNED = ("mace", "sevennet", "nequip", "chgnet")
"""Peers with other settings besides."""
METHODS = (
    *OURS,
    *(name + kind for name in PEERS for kind in ("", "-tuned") if name in TUNED or not kind),
)


@dataclass
class Entry:
    """``points``: minutes since the process was started, energy MAE in meV/atom, force MAE in meV/Å.

    ``cpu_minutes`` is what training got of the cores; ``epochs`` and ``epoch_s`` what a peer's schedule was laid out
    for and the time of an epoch that was measured for it.
    """

    case: str
    method: str
    minutes: float
    threads: int
    seed: int
    cpu: str
    cpu_minutes: float
    versions: dict[str, str]
    settings: dict[str, Any]
    steps: int | None = None
    epochs: int | None = None
    epoch_s: float | None = None
    points: list[dict[str, float]] = field(default_factory=list)

    @property
    def key(self) -> Key:
        return self.case, self.method, self.minutes, self.threads, self.seed


class Results:
    """What was measured so far; every entry that is added is on disk at once."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        try:
            entries = [Entry(**one) for one in stored(self._file)]
        except TypeError:
            raise _unreadable(self._file) from None
        self._entries = {entry.key: entry for entry in entries}

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def add(self, entry: Entry) -> None:
        self._entries[entry.key] = entry
        store(self._file, [asdict(one) for one in self._entries.values()])

    def of(self, case: str, minutes: float, threads: int) -> dict[str, list[Entry]]:
        """Entries of a case, one for each seed, by method in the order of ``METHODS``."""
        wanted = case, minutes, threads
        mine = [e for e in self._entries.values() if (e.case, e.minutes, e.threads) == wanted]
        mine.sort(key=lambda entry: entry.seed)
        found = {method: [e for e in mine if e.method == method] for method in METHODS}
        return {method: seeds for method, seeds in found.items() if seeds}


def stored(file: Path) -> list[dict[str, Any]]:
    """What :func:`store` wrote; nothing where there is no file yet. Raises ``UserError`` where it cannot be read."""
    try:
        return json.loads(file.read_text()) if file.is_file() else []
    except ValueError:
        raise _unreadable(file) from None


def store(file: Path, content: list[dict[str, Any]]) -> None:
    """The file is always whole, whenever this is interrupted."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.part")
    scratch.write_text(json.dumps(content, indent=1) + "\n")
    scratch.replace(file)


def _unreadable(file: Path) -> UserError:
    return UserError(f"{file} is damaged or of another version; move it away")


def table(results: Results, minutes: float, threads: int = 1) -> str:
    """Markdown: errors at the end of the time, cases in rows, methods in columns; of several seeds mean and range."""
    by_case = {name: results.of(name, minutes, threads) for name in CASES}
    by_case = {name: entries for name, entries in by_case.items() if entries}
    methods = [m for m in METHODS if any(m in entries for entries in by_case.values())]
    lines = [row(["case", *methods]), row(["---"] * (1 + len(methods)))]
    for name, entries in by_case.items():
        cells = [_cell(entries[m]) if m in entries else "" for m in methods]
        lines.append(row([CASES[name].title, *cells]))
    return "\n".join(lines) + "\n"


def _cell(seeds: list[Entry]) -> str:
    if not all(entry.points for entry in seeds):
        return "no step in time"
    last = [entry.points[-1] for entry in seeds]
    return " / ".join(_mean([point[key] for point in last]) for key in ("energy_mae", "force_mae"))


def _mean(errors: list[float]) -> str:
    spread = f" ({_digits(min(errors))} to {_digits(max(errors))})" if len(errors) > 1 else ""
    return _digits(statistics.fmean(errors)) + spread


def _digits(error: float) -> str:
    """Three of them: 8.40, 411, 1,230."""
    rounded = float(f"{error:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:#.3g}"


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
