"""What a step sent and waited for, phase by phase."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PHASES = ("energy", "forces", "backward_forces", "backward_energy", "update")
"""Energies forward, forces (first backward), backward of the forces, backward of the energies; then the optimiser."""


@dataclass
class Ledger:
    """Bytes this rank sent to others and seconds it waited for them, by phase and by what was sent."""

    phase: str = PHASES[0]
    bytes: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def sent(self, what: str, count: int) -> None:
        """Add ``count`` bytes of ``what``."""
        self.bytes[self.phase, what] += count

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Time spent inside the context is waited for ``what``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[self.phase, what] += time.perf_counter() - begin

    def close(self) -> dict[str, dict[str, float]]:
        """``bytes`` and ``waited`` (s) as "phase/what" → amount; the ledger is empty afterwards, in the first phase."""
        rows = {
            "bytes": {"/".join(key): float(value) for key, value in self.bytes.items()},
            "waited": {"/".join(key): round(value, 6) for key, value in self.seconds.items()},
        }
        self.bytes.clear()
        self.seconds.clear()
        self.phase = PHASES[0]
        return rows
