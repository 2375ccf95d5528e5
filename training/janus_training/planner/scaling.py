"""More ranks: with as much work for each (weak scaling), or with the same work for all (strong scaling)."""

from __future__ import annotations

from dataclasses import replace

from janus_training.planner.layout import Layout
from janus_training.planner.machine import Machine
from janus_training.planner.rehearsal import Rehearsal
from janus_training.planner.time import Time, time_of


def moved(rehearsal: Rehearsal, layout: Layout, ranks: int) -> tuple[Rehearsal, Layout]:
    """The same rank among more or fewer units of the same size: only gradients notice."""
    other = replace(layout, ranks=ranks)
    sizes = {
        "world": (layout.ranks, ranks),
        "replicas": (layout.ranks // layout.unit, ranks // layout.unit),
    }
    return replace(rehearsal, traffic=rehearsal.traffic.with_groups(sizes)), other


def time_on(machine: Machine, rehearsal: Rehearsal, layout: Layout, ranks: int) -> Time:
    """A step on so many ranks."""
    found, other = moved(rehearsal, layout, ranks)
    return time_of(machine, other, [found], overlap=True)


def weak(machine: Machine, rehearsal: Rehearsal, layout: Layout, few: int, many: int) -> float:
    """Time of a step on few ranks over that on many, each with this rank's work."""
    few_s, many_s = (time_on(machine, rehearsal, layout, n).total for n in (few, many))
    return few_s / many_s


def strong(
    machine: Machine, whole: Rehearsal, part: Rehearsal, layout: Layout, few: int, many: int
) -> float:
    """Speed-up over the factor in ranks; on few a rank has the work of ``whole``, on many that of ``part``."""
    before = time_on(machine, whole, layout, few).total
    after = time_on(machine, part, layout, many).total
    return before / after * few / many
