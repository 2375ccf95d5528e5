"""Ways to put a run on its ranks, and the mesh that such a run would have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from janus_training.config import Config
from janus_training.parallel.ledger import Ledger
from janus_training.parallel.mesh import Group, Mesh
from janus_training.planner.traffic import GroupLedger, Traffic

PARALLEL = ("unit", "shard_parameters", "shard_experts", "recompute", "regather")
"""What a layout says of a recipe's part ``parallel``."""


@dataclass(frozen=True)
class Layout:
    """Units of ``unit`` of the ``ranks``; what a unit divides, and what a block does between phases."""

    ranks: int
    unit: int
    shard_parameters: bool
    shard_experts: bool
    recompute: bool
    regather: bool

    @property
    def units(self) -> str:
        """How many units of how many ranks."""
        return f"{self.ranks // self.unit} × {self.unit}"

    @property
    def divided(self) -> str:
        """What a unit divides."""
        parts = {"weights": self.shard_parameters, "experts": self.shard_experts}
        return " + ".join(name for name, so in parts.items() if so) or "-"

    @property
    def blocks(self) -> str:
        """What becomes of a block between phases."""
        if self.regather:
            return "gathered"
        return "recomputed" if self.recompute else "kept"

    def settings(self, config: Config) -> dict[str, bool | int | str]:
        """What to ``--set`` for it on top of a recipe."""
        fields = PARALLEL if self.unit > 1 else ("unit", "recompute", "regather")
        parallel = self._undone(config) | {name: getattr(self, name) for name in fields}
        found = {f"parallel.{name}": value for name, value in parallel.items()}
        if config.parallel.replicate not in ("auto", self.ranks // self.unit):
            found["parallel.replicate"] = "auto"
        if config.train.compile and not self._compiles:
            found["train.compile"] = False
        return found

    def applied(self, config: Config) -> Config:
        """A configuration with this layout."""
        layout = self._undone(config) | {name: getattr(self, name) for name in PARALLEL}
        parallel = config.parallel.model_copy(update=layout | {"replicate": "auto"})
        compiled = config.train.compile and self._compiles
        train = config.train.model_copy(update={"compile": compiled})
        return config.model_copy(update={"parallel": parallel, "train": train})

    def _undone(self, config: Config) -> dict[str, bool | int | str]:
        """What takes back settings that a unit of one rank cannot have."""
        return {**config.parallel.of_several()} if self.unit == 1 else {}

    @property
    def _compiles(self) -> bool:
        """Compiled steps neither share weights nor recompute blocks."""
        return self.unit == 1 and not self.recompute


def layouts(ranks: int, largest: int, routed: bool) -> Iterator[Layout]:
    """All that make sense: units that divide ``ranks``, of at most ``largest``; ``routed``: there are experts."""
    for unit in range(1, min(ranks, largest) + 1):
        if ranks % unit:
            continue
        shares = [(True, True), (True, False), (False, True)] if routed else [(True, False)]
        again = [(False, False), (True, False), (True, True)]
        if unit == 1:
            shares, again = [(False, False)], again[:2]
        for parameters, experts in shares:
            for recompute, regather in again:
                yield Layout(ranks, unit, parameters, experts, recompute, regather)


def imagined_mesh(layout: Layout, place: int, traffic: Traffic) -> Mesh:
    """The mesh that rank ``place`` would see; what it would send goes into ``traffic``."""
    ledger, unit = Ledger(), layout.unit

    def group(name: str, size: int, own: int) -> Group:
        return Group(size, own, None, GroupLedger(name, ledger, traffic))

    return Mesh(
        group("world", layout.ranks, place),
        group("unit", unit, place % unit),
        group("replicas", layout.ranks // unit, place // unit),
        ledger,
    )
