"""The JSON of the comparison of speeds, which every run adds to, and its tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from structures import NAMES, SIZES

from janus_md.errors import UserError

Row = dict[str, Any]
TITLES = {"evaluate": "Energy and forces", "train": "Training step"}


class Figures:
    """Facts about methods and one row for each method, system and work; written to ``path`` whenever one is added."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.methods: dict[str, Row] = {}
        self.rows: list[Row] = []
        if path and path.exists():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                self.methods, self.rows = content["methods"], content["rows"]
            except (ValueError, KeyError, TypeError):
                raise UserError(
                    f"{path} is damaged or no file of this benchmark; move it away"
                ) from None

    def find(self, method: str, system: str, work: str) -> Row | None:
        """The row of this measurement, if it was made."""
        wanted = (method, system, work)
        return next((row for row in self.rows if _key(row) == wanted), None)

    def add(self, row: Row) -> None:
        """Keep a row in place of an older one of the same method, system and work."""
        self.rows = [one for one in self.rows if _key(one) != _key(row)] + [row]
        self._write()

    def describe(self, method: str, facts: Row) -> None:
        """Keep settings, versions and numbers of parameters of a method."""
        self.methods[method] = facts
        self._write()

    def _write(self) -> None:
        if self._path:
            content = {"methods": self.methods, "rows": self.rows}
            self._path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def tables(figures: Figures) -> str:
    """Markdown, one for each work and size."""
    found = [table(figures, work, size) for work in TITLES for size in SIZES]
    return "\n".join(text for text in found if text)


def table(figures: Figures, work: str, size: int) -> str:
    """Methods down, materials across; processor seconds and MB above the imports, or why there are none."""
    held = {row["system"] for row in figures.rows if row["work"] == work}
    systems = {f"{name}-{size}": title for name, title in NAMES.items() if f"{name}-{size}" in held}
    if not systems:
        return ""
    title = f"{TITLES[work]}, {size:,} atoms: s / MB"
    lines = [
        f"| {title} | active parameters | {' | '.join(systems.values())} |",
        "| --- " * (len(systems) + 2) + "|",
    ]
    for method, facts in figures.methods.items():
        cells = [_cell(figures.find(method, system, work)) for system in systems]
        if any(cells):
            lines.append(f"| `{method}` | {facts['active']:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _key(row: Row) -> tuple[str, str, str]:
    return row["method"], row["system"], row["work"]


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return row.get("failed") or f"{row['cpu_s']:.3g} / {row['above_imports_mb']}"
