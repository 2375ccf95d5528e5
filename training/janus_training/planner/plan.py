"""Every layout of a run on a machine, and the one to take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from janus_md.errors import UserError
from janus_training.config import Config
from janus_training.planner.layout import Layout, layouts
from janus_training.planner.machine import Machine
from janus_training.planner.memory import Memory
from janus_training.planner.rehearsal import Rehearsal, rehearse
from janus_training.planner.time import Time, time_of
from janus_training.planner.traffic import over_ranks
from janus_training.planner.workload import Workload, busiest, read_data, workload

GB = 1e9


@dataclass(frozen=True)
class Row:
    """One layout: what a step takes of the busiest rank, or of all ranks where all were rehearsed.

    ``structures``: of all ranks' batch. ``settings``: what to ``--set`` for it on top of the recipe.
    """

    layout: Layout
    structures: int
    settings: dict[str, bool | int | str]
    rehearsals: Sequence[Rehearsal]
    memory: Memory
    time: Time
    fits: bool
    share_of_peak: float

    @property
    def facts(self) -> dict[str, Any]:
        """For JSON; tables by phase, bytes by "phase/kind" of the ranks rehearsed, times in seconds."""
        return {
            "layout": asdict(self.layout),
            "set": self.settings,
            "structures": self.structures,
            "ranks_rehearsed": len(self.rehearsals),
            "memory": vars(self.memory) | {"total": self.memory.total},
            "bytes": over_ranks(r.traffic for r in self.rehearsals),
            "flops": [r.flops for r in self.rehearsals],
            "slots": [r.slots for r in self.rehearsals],
            "computing": self.time.computing,
            "waiting": self.time.waiting,
            "step": self.time.total,
            "share_of_peak": self.share_of_peak,
            "fits": self.fits,
        }


@dataclass(frozen=True)
class Plan:
    """All layouts, the best first: those that fit, by time of a structure, as not all need have equally many."""

    machine: Machine
    ranks: int
    rows: list[Row]

    @property
    def best(self) -> Row | None:
        """The fastest that fits."""
        return self.rows[0] if self.rows[0].fits else None


def plan(
    config: Config,
    machine: Machine,
    ranks: int | None = None,
    unit: int | None = None,
    per_rank: bool = False,
    every_rank: bool = False,
    progress: Callable[[Layout], None] = lambda _: None,
) -> Plan:
    """Rehearse a step in every layout.

    Args:
        ranks: all devices of the machine if None. unit: units of this size only.
        per_rank: each rank takes a batch as the recipe's; else all ranks share one.
        every_rank: rehearse all ranks instead of the busiest one.

    Raises ``UserError`` where recipe, data and machine do not go together.
    """
    ranks = ranks or machine.ranks
    if ranks > machine.ranks:
        raise UserError(
            f"{ranks} ranks do not fit the {machine.ranks} devices of {machine.name}; ask for fewer"
        )
    config, data = read_data(config, machine.device)
    routed = bool(config.model["num_message_experts"] or config.model["num_feature_experts"])
    chosen = [
        layout
        for layout in layouts(ranks, max(8, machine.devices, unit or 0), routed)
        if unit in (None, layout.unit)
    ]
    if not chosen:
        raise UserError(f"{ranks} ranks cannot be divided into units of {unit}; give a divisor")
    works: dict[int | None, Workload] = {}
    rows = []
    for layout in chosen:
        progress(layout)
        key = layout.unit if per_rank else None
        if key not in works:
            works[key] = workload(config, data, key)
        rows.append(row(works[key], layout, machine, every_rank))
    rows.sort(key=lambda row: (not row.fits, row.time.total / row.structures))
    return Plan(machine, ranks, rows)


def row(work: Workload, layout: Layout, machine: Machine, every_rank: bool = False) -> Row:
    """One layout."""
    ranks = layout.unit if work.per_rank else layout.ranks
    places = range(ranks) if every_rank else [busiest(work, layout)]
    rehearsals = [rehearse(work.config, layout, place, work.share, work.chosen) for place in places]
    time = time_of(machine, layout, rehearsals, work.config.parallel.overlap)
    memory = max((r.memory for r in rehearsals), key=lambda m: m.total).of_batch(work.largest)
    fits = memory.total <= (machine.memory - machine.runtime) * GB
    share = share_of_peak(machine, rehearsals, time)
    structures = len(work.batch) * (layout.ranks // ranks)
    settings = layout.settings(work.config)
    return Row(layout, structures, settings, rehearsals, memory, time, fits, share)


def share_of_peak(machine: Machine, rehearsals: Sequence[Rehearsal], time: Time) -> float:
    """Operations of a mean rank over what it could have done in the time."""
    flops = sum(sum(r.flops.values()) for r in rehearsals) / len(rehearsals)
    if len(rehearsals) == 1:  # of the busiest
        flops /= 1.0 + rehearsals[0].imbalance
    return flops / (time.total * 1e12 * machine.peak)
