"""Who works with whom: ranks in units, units replicated over the rest of the machine.

    mesh = replicas × unit
    unit = ranks that share parameters, graphs and experts; consecutive ones, so one node where it has as many devices
    replicas = ranks at the same place of each unit, which hold the same shards

One process is a mesh of one rank: the same code, and nothing is sent.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from janus_md.errors import UserError
from janus_training.parallel.ledger import Ledger

Value = TypeVar("Value")


@dataclass(frozen=True)
class Group:
    """Some ranks, ``place`` this process's among them. ``handle`` is None for a single one, and for imagined ones."""

    size: int = 1
    place: int = 0
    handle: dist.ProcessGroup | None = None
    ledger: Ledger = field(default_factory=Ledger)


@dataclass(frozen=True)
class Mesh:
    """All ranks (``world``), those of this rank's ``unit``, and its ``replicas``."""

    world: Group = field(default_factory=Group)
    unit: Group = field(default_factory=Group)
    replicas: Group = field(default_factory=Group)
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def first(self) -> bool:
        """Whether this rank speaks and writes for all."""
        return self.world.place == 0

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world.handle is not None:
            dist.barrier(self.world.handle)

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks."""
        if self.world.handle is None:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums, group=self.world.handle)
        return sums.tolist()

    def agreed(self, *values: float) -> list[float]:
        """The first rank's values."""
        return self.total([value if self.first else 0.0 for value in values])

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return self.total([float(flag)])[0] > 0.0

    def everyone(self, value: Any) -> list[Any]:
        """The values of all ranks, in order."""
        if self.world.handle is None:
            return [value]
        values = [None] * self.world.size
        dist.all_gather_object(values, value, group=self.world.handle)
        return values

    def by_all(self, action: Callable[[], Value]) -> list[Value]:
        """What ``action`` gives on each rank, in order; where it raises ``UserError`` on any, all raise the first."""
        outcome: Any
        try:
            outcome = action()
        except UserError as error:
            outcome = error
        outcomes = self.everyone(outcome)
        for outcome in outcomes:
            if isinstance(outcome, UserError):
                raise outcome
        return outcomes

    def by_first(self, action: Callable[[], Value]) -> Value:
        """What ``action`` gives on the first rank, on all; they wait for it, and share its ``UserError``."""
        found = self.by_all(lambda: action() if self.first else None)[0]
        return found  # type: ignore[return-value]

    def turns(self) -> Iterator[bool]:
        """As many turns as the fullest node has ranks, all nodes at once; which of them is this rank's.

        The next one begins once all ranks are done with it.
        """
        nodes = self.everyone(socket.gethostname())
        own = nodes[: self.world.place].count(nodes[self.world.place])
        for turn in range(max(Counter(nodes).values())):
            yield turn == own
            self.barrier()

    @property
    def device(self) -> torch.device:
        """Where tensors of collectives have to be."""
        nccl = dist.is_initialized() and dist.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


def make_mesh(unit: int, replicate: int | str = "auto") -> Mesh:
    """The mesh over the process group that is open, with units of ``unit`` ranks.

    Raises:
        UserError: the ranks cannot be divided into such units, or not into ``replicate`` of them.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        if unit > 1:
            raise UserError(
                f"parallel.unit is {unit} but there is one process; "
                f"start it with torchrun --nproc-per-node {unit}, or set parallel.unit=1"
            )
        if replicate not in ("auto", 1):
            raise UserError(
                f"parallel.replicate is {replicate} but there is one process; "
                f"start it with torchrun --nproc-per-node {replicate}, or set parallel.replicate=auto"
            )
        return Mesh()
    size, rank = dist.get_world_size(), dist.get_rank()
    if size % unit:
        raise UserError(
            f"{size} ranks cannot be divided into units of {unit}; set parallel.unit to a divisor of {size}"
        )
    if replicate not in ("auto", size // unit):
        raise UserError(
            f"parallel.replicate is {replicate} but {size} ranks are {size // unit} units of {unit}; set it to auto"
        )
    ledger = Ledger()
    units = [list(range(first, first + unit)) for first in range(0, size, unit)]
    replicas = [list(range(place, size, unit)) for place in range(unit)]
    return Mesh(
        Group(size, rank, dist.group.WORLD, ledger),
        _own(units, rank, ledger),
        _own(replicas, rank, ledger),
        ledger,
    )


def _own(groups: list[list[int]], rank: int, ledger: Ledger) -> Group:
    """The one of ``groups`` that ``rank`` is in; every rank has to make all of them."""
    handles = [dist.new_group(ranks) if len(ranks) > 1 else None for ranks in groups]
    for ranks, handle in zip(groups, handles, strict=True):
        if rank in ranks:
            return Group(len(ranks), ranks.index(rank), handle, ledger)
    raise AssertionError("every rank is in one group")
