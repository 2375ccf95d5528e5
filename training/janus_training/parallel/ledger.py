"""What a step takes, phase by phase: time, waiting, bytes sent, memory, and weights that are whole."""

from __future__ import annotations

import resource
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

ENERGY, FORCES, BACKWARD_FORCES, BACKWARD_ENERGY, UPDATE = PHASES = (
    "energy", "forces", "backward_forces", "backward_energy", "update",
)  # fmt: skip
"""Energies forward, forces (first backward), backward of the forces, backward of the energies; then the optimiser."""

BETWEEN = "between"
"""Steps: batches, checkpoints, validation."""

Table = dict[str, float]


class Ledger:
    """Of one rank. Amounts are by phase, or by "phase/what was sent".

    Attributes:
        watches_memory: whether peaks of memory are found, phase by phase; the system's own peak starts anew then.
    """

    def __init__(self) -> None:
        self.watches_memory = False
        self._restored: list[tuple[StorageWeakRef, int]] = []
        self._empty()
        self._enter(BETWEEN)

    @property
    def phase(self) -> str:
        """What the rank is at; setting it ends the phase before."""
        return self._phase

    @phase.setter
    def phase(self, name: str) -> None:
        if name != self._phase:
            self._leave()
            self._enter(name)

    def sent(self, what: str, count: int) -> None:
        """Add ``count`` bytes of ``what`` that left for other ranks."""
        self._bytes[f"{self._phase}/{what}"] += count

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Time spent inside the context is waited for ``what``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._waited[f"{self._phase}/{what}"] += time.perf_counter() - begin

    def restored(self, whole: Tensor) -> None:
        """A weight that is whole for as long as something refers to it."""
        storage = whole.untyped_storage()
        self._restored.append((StorageWeakRef(storage), storage.nbytes()))
        self._note_restored()

    def close(self) -> dict[str, Table]:
        """Since the last call: ``seconds``, ``waited`` (s), ``bytes`` sent, ``memory`` (peak of the process) and
        ``restored`` (peak of whole weights), both bytes.
        """
        self._leave()
        tables = {
            "seconds": self._seconds, "waited": self._waited, "bytes": self._bytes,
            "memory": self._memory, "restored": self._whole,
        }  # fmt: skip
        self._empty()
        self._enter(self._phase)
        return {name: dict(table) for name, table in tables.items()}

    def _empty(self) -> None:
        self._seconds: Table = defaultdict(float)
        self._waited: Table = defaultdict(float)
        self._bytes: Table = defaultdict(float)
        self._memory: Table = defaultdict(float)
        self._whole: Table = defaultdict(float)

    def _enter(self, name: str) -> None:
        self._phase, self._since = name, time.perf_counter()
        self._note_restored()

    def _leave(self) -> None:
        self._seconds[self._phase] += time.perf_counter() - self._since
        if self.watches_memory:
            self._memory[self._phase] = max(self._memory[self._phase], _peak_memory())

    def _note_restored(self) -> None:
        self._restored = [entry for entry in self._restored if not entry[0].expired()]
        whole = sum(size for _, size in self._restored)
        self._whole[self._phase] = max(self._whole[self._phase], whole)


def _peak_memory() -> float:
    """Bytes, the largest since the last call where the system can tell, else since the process began."""
    if torch.cuda.is_initialized():
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return float(peak)
    try:
        status = Path("/proc/self/status").read_text()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024.0 * float(status.split("VmHWM:")[1].split()[0])
