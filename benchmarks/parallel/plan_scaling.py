"""Planned steps of moe-s, moe-m and moe-l on the two machines of arXiv:2604.15821.

    python benchmarks/parallel/plan_scaling.py --data FRAMES.extxyz -o RESULT.json

Units of eight; weights gathered again in each phase. Weak scaling: from 1/64 of the ranks to all, with eight
structures each. Strong scaling: from 1/8 of the ranks with eight structures each to all with one each, which is whole
on its rank or divided over the unit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from janus_training.config import Config
from janus_training.planner.layout import Layout
from janus_training.planner.machine import Machine, load_machine
from janus_training.planner.plan import share_of_peak
from janus_training.planner.rehearsal import Rehearsal, rehearse
from janus_training.planner.scaling import moved, strong, time_on, weak
from janus_training.planner.workload import busiest, read_data, workload
from janus_training.prepare import Data

UNIT, MANY, ONE = 8, 8, 1
MACHINES = ("paper-gpus", "paper-cpus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["moe-s", "moe-m", "moe-l"])
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    machines = [load_machine(Path(name)) for name in MACHINES]
    layout = Layout(machines[0].ranks, UNIT, True, True, True, True)
    rows: list[dict[str, Any]] = []
    for model in given.models:
        config = _config(model, given.data)
        for machine in machines:
            config, data = read_data(config, machine.device)
            found = [
                _rehearsed(config, data, layout, structures, divided)
                for structures, divided in ((MANY, False), (ONE, False), (ONE, True))
            ]
            facts = _facts(machine, layout, *found)
            rows.append({"model": model, "machine": machine.name} | facts)
            print(json.dumps(rows[-1]), flush=True)
            given.output.write_text(json.dumps(rows, indent=1) + "\n")


def _rehearsed(
    config: Config, data: Data, layout: Layout, structures: int, divided: bool
) -> Rehearsal:
    """The busiest rank of a unit with so many structures a rank."""
    batch = config.batch.model_copy(update={"structures": structures})
    parallel = config.parallel.model_copy(update={"shard_graphs": divided})
    changed = config.model_copy(update={"batch": batch, "parallel": parallel})
    work = workload(changed, data, UNIT)
    return rehearse(work.config, layout, busiest(work, layout), work.share, work.chosen)


def _config(model: str, data: Path) -> Config:
    content = {
        "model": {"preset": model},
        "data": {"sets": [{"path": str(data)}]},
        "batch": {"structures": MANY},
        "optimiser": {"method": "muon"},
        "train": {"steps": 1},
    }
    return Config.model_validate(content)


def _facts(
    machine: Machine, layout: Layout, many: Rehearsal, one: Rehearsal, divided: Rehearsal
) -> dict[str, Any]:
    everyone, few = machine.ranks, machine.ranks // 64 // UNIT * UNIT
    rehearsal, whole = moved(many, layout, everyone)
    time = time_on(machine, many, layout, everyone)
    share = share_of_peak(machine, [rehearsal], time)
    return {
        "ranks": everyone,
        "slots": many.slots,
        "imbalance": many.imbalance,
        "imbalance_one": one.imbalance,
        "flops": many.flops,
        "touched": many.touched,
        "calls": many.calls,
        "bytes": rehearsal.traffic.bytes,
        "memory_gb": {name: size / 1e9 for name, size in vars(many.memory).items()},
        "memory_total_gb": many.memory.total / 1e9,
        "fits": many.memory.total / 1e9 <= machine.memory - machine.runtime,
        "computing": time.computing,
        "waiting": time.waiting,
        "step_s": time.total,
        "step_one_s": time_on(machine, one, layout, everyone).total,
        "share_of_peak": share,
        "eflops": share * machine.peak * machine.ranks / 1e6,
        "weak": weak(machine, many, layout, few, everyone),
        "strong": strong(machine, many, one, layout, everyone // 8, everyone),
        "strong_divided": strong(machine, many, divided, layout, everyone // 8, everyone),
        "units": whole.ranks // whole.unit,
    }


if __name__ == "__main__":
    main()
