"""Seconds of a step: computing, and what of the exchanges computing does not hide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from janus_training.parallel.ledger import PHASES
from janus_training.planner.layout import Layout
from janus_training.planner.machine import Link, Machine
from janus_training.planner.rehearsal import Rehearsal
from janus_training.planner.traffic import Kind, Sum

EARLY = {("parameters", "unit"), ("experts", "unit"), ("gradients", "world")}
"""What is begun before it is needed, or waited for later; the rest is waited for at once."""

SUMMED = ("gradients", "norm")
"""What is an all-reduce; it goes around twice."""


@dataclass(frozen=True)
class Time:
    """Seconds by phase: ``computing``, and ``waiting`` for other ranks' messages."""

    computing: dict[str, float]
    waiting: dict[str, float]

    @property
    def total(self) -> float:
        """Of a step."""
        return sum(self.computing.values()) + sum(self.waiting.values())


def time_of(
    machine: Machine, layout: Layout, rehearsals: Sequence[Rehearsal], overlap: bool
) -> Time:
    """A step of which these ranks, or the busiest alone, were rehearsed; phases end when the slowest does."""
    crowded = crowding(machine, layout.ranks)
    computing, waiting = {}, {}
    for phase in PHASES:
        computing[phase] = crowded * max(_computing(machine, r, phase) for r in rehearsals)
        waiting[phase] = max(
            _waiting(machine, layout, r, phase, computing[phase], overlap) for r in rehearsals
        )
    return Time(computing, waiting)


def crowding(machine: Machine, ranks: int) -> float:
    """How much longer a rank's work takes because of others on its node."""
    near = min(ranks, machine.devices)
    places = min(machine.cores or machine.devices, machine.devices)
    if places == 1 or near == 1:
        return max(1.0, near / places)
    busy = min(near, places)
    return (1.0 + (machine.crowding - 1.0) * (busy - 1) / (places - 1)) * max(1.0, near / places)


def _computing(machine: Machine, rehearsal: Rehearsal, phase: str) -> float:
    arithmetic = rehearsal.flops.get(phase, 0.0) / (1e12 * machine.peak * machine.achieved)
    memory = rehearsal.touched.get(phase, 0.0) / (1e9 * machine.traffic)
    calls = rehearsal.calls.get(phase, 0.0) * 1e-6 * machine.overhead
    work = arithmetic + memory
    return max(work, calls) if machine.ahead else work + calls


def _waiting(
    machine: Machine,
    layout: Layout,
    rehearsal: Rehearsal,
    phase: str,
    computing: float,
    overlap: bool,
) -> float:
    early = late = 0.0
    for kind, total in rehearsal.traffic.sums.items():
        if kind.phase != phase:
            continue
        seconds = _exchange(machine, layout, kind, total)
        if overlap and (kind.what, kind.group) in EARLY:
            early += seconds
        else:
            late += seconds
    # Cores that ranks share also move their messages.
    crowded = max(1.0, crowding(machine, layout.ranks)) if machine.cores else 1.0
    return crowded * (late + early - min(machine.hidden * early, computing))


def _exchange(machine: Machine, layout: Layout, kind: Kind, total: Sum) -> float:
    size, link = _group(machine, layout, kind.group)
    rounds = math.ceil(math.log2(max(2, size))) * (2 if kind.what in SUMMED else 1)
    return total.messages * rounds * 1e-6 * link.latency + total.bytes / (1e9 * link.bandwidth)


def _group(machine: Machine, layout: Layout, name: str) -> tuple[int, Link]:
    """How many ranks exchange, and over what."""
    if name == "unit":
        # Units are cut from the ranks in order, so that some lie on two nodes where they do not divide one.
        on_one_node = machine.devices % layout.unit == 0
        return layout.unit, machine.link((layout.unit if on_one_node else layout.ranks) - 1)
    size = layout.ranks if name == "world" else layout.ranks // layout.unit
    return size, machine.link(layout.ranks - 1)
