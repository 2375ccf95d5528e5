"""Messages that a rank would send, by phase, by what they carry and by the ranks that exchange them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from janus_training.parallel.ledger import Ledger


class Kind(NamedTuple):
    """``group``: world, unit or replicas, as in :class:`janus_training.parallel.mesh.Mesh`."""

    phase: str
    what: str
    group: str


@dataclass
class Sum:
    """So many messages of so many bytes altogether."""

    messages: int = 0
    bytes: int = 0


@dataclass
class Traffic:
    """Of one rank in one step."""

    sums: dict[Kind, Sum] = field(default_factory=lambda: defaultdict(Sum))

    def add(self, kind: Kind, count: int) -> None:
        """One more message of ``count`` bytes."""
        self.sums[kind].messages += 1
        self.sums[kind].bytes += count

    @property
    def bytes(self) -> dict[str, float]:
        """By "phase/what", as a ledger has them."""
        found: dict[str, float] = defaultdict(float)
        for kind, total in self.sums.items():
            found[f"{kind.phase}/{kind.what}"] += total.bytes
        return dict(found)


class GroupLedger(Ledger):
    """Hands on to a rank's ledger what one of its groups notes, and notes which group it was."""

    def __init__(self, group: str, ledger: Ledger, traffic: Traffic) -> None:
        super().__init__()
        self._group, self._ledger, self._traffic = group, ledger, traffic

    def sent(self, what: str, count: int) -> None:
        self._ledger.sent(what, count)
        self._traffic.add(Kind(self._ledger.phase, what, self._group), count)

    def restored(self, whole: Tensor) -> None:
        self._ledger.restored(whole)


def over_ranks(traffics: Iterable[Traffic]) -> dict[str, float]:
    """Bytes of several ranks by "phase/what"."""
    found: dict[str, float] = defaultdict(float)
    for traffic in traffics:
        for name, count in traffic.bytes.items():
            found[name] += count
    return dict(found)
