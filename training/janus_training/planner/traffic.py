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

    def with_groups(self, sizes: dict[str, tuple[int, int]]) -> Traffic:
        """The same among more or fewer ranks; ``sizes``: of a group as it is and as it is to be.

        Only for groups that sum gradients: a ring sends all but its own part twice.
        """
        found = Traffic()
        for kind, total in self.sums.items():
            before, after = sizes.get(kind.group, (1, 1))
            factor = (after - 1) / after / ((before - 1) / before) if before > 1 else 1.0
            if after > 1 or kind.group not in sizes:
                found.sums[kind] = Sum(total.messages, round(total.bytes * factor))
        return found

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
