"""Steps as `janus-md plan` predicts them against steps that 1, 2 and 4 processes take here.

    python benchmarks/parallel/plan_check.py --data FRAMES.extxyz [--machine M.yaml] -o RESULT.json

Without ``--machine`` this machine is measured first. Seconds are wall time, the quickest of a few steps; where other
work shares the cores, processor seconds tell what its computing takes: those of the busiest rank, or of all ranks over
the cores where there are more ranks than cores.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ase.io
import torch

from janus_training.config import Config
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import make_mesh
from janus_training.parallel.processes import on_ranks
from janus_training.planner.layout import Layout
from janus_training.planner.machine import Machine, load_machine
from janus_training.planner.measure import measured
from janus_training.planner.plan import row
from janus_training.planner.workload import Workload, read_data, workload
from janus_training.prepare import new_model
from janus_training.step import take_step

CPU = torch.device("cpu")
FRAMES = 32
STEPS = 6
MODEL = {"preset": "small", "cutoff": 5.0, "line_cutoff": 4.0}

LAYOUTS = [
    Layout(1, 1, False, False, False, False),
    Layout(2, 1, False, False, False, False),
    Layout(2, 2, True, True, False, False),
    Layout(2, 2, True, True, True, True),
    Layout(4, 1, False, False, False, False),
    Layout(4, 2, True, True, False, False),
    Layout(4, 4, True, True, False, False),
    Layout(4, 4, True, True, True, True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--machine", type=Path)
    parser.add_argument("--structures", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    machine = load_machine(given.machine) if given.machine else measured()
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames.extxyz"
        ase.io.write(frames, ase.io.read(given.data, f":{FRAMES}"))
        config = _config(frames, given.structures)
        work = workload(*read_data(config, CPU))
        rows = [_compared(work, layout, machine, config) for layout in LAYOUTS]
    facts = machine.model_dump() | {"name": ""}
    result = {"machine": facts, "model": MODEL, "structures": given.structures, "rows": rows}
    given.output.write_text(json.dumps(result, indent=1) + "\n")


def _config(frames: Path, structures: int) -> Config:
    content = {
        "model": MODEL,
        "data": {"sets": [{"path": str(frames)}], "valid_fraction": 0.0},
        "batch": {"structures": structures},
        "optimiser": {"method": "muon"},
        "train": {"steps": 1, "threads": 1},
    }
    return Config.model_validate(content)


def _compared(work: Workload, layout: Layout, machine: Machine, config: Config) -> dict[str, Any]:
    """One layout."""
    found = row(work, layout, machine, every_rank=True)
    runs = on_ranks(layout.ranks, _run, config, layout)
    bytes_sent: dict[str, float] = {}
    for run in runs:
        for name, count in run["bytes"].items():
            bytes_sent[name] = bytes_sent.get(name, 0.0) + count
    cores = machine.cores or layout.ranks
    processor = [run["processor"] for run in runs]
    alone = max(max(processor), sum(processor) / cores)
    facts = {
        "layout": asdict(layout),
        "predicted_s": found.time.total,
        "predicted_computing_s": sum(found.time.computing.values()),
        "wall_s": max(run["wall"] for run in runs),
        "processor_s": alone,
        "over_wall": found.time.total / max(run["wall"] for run in runs),
        "over_processor": sum(found.time.computing.values()) / alone,
        "bytes_equal": found.facts["bytes"] == bytes_sent,
        "bytes": sum(bytes_sent.values()),
        "predicted_mb": max(r.memory.total for r in found.rehearsals) / 1e6,
        "measured_mb": max(run["memory"] for run in runs) / 1e6,
    }
    print(json.dumps(facts), flush=True)
    return facts


def _run(config: Config, layout: Layout) -> dict[str, Any]:
    """Steps of this rank on the planned batch."""
    work = workload(*read_data(config, CPU))
    config, mesh = layout.applied(work.config), make_mesh(layout.unit)
    before = _resident()
    janus = Janus(new_model(work.config, work.data), mesh, config.parallel, config.train.memory)
    optimizer = build_optimizer(janus.model, config.optimiser, 1.0)
    share = work.share(mesh, janus)
    mesh.ledger.watches_memory = True
    walls, processors, accounts = [], [], []
    for _ in range(STEPS):
        mesh.barrier()
        mesh.ledger.close()
        wall, processor = time.perf_counter(), time.process_time()
        take_step(janus, optimizer, share, config, 1.0)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
        accounts.append(mesh.ledger.close())
    return {
        "wall": min(walls[1:]),
        "processor": min(processors[1:]),
        "bytes": accounts[0]["bytes"],  # later the routers have learnt to choose other experts
        "memory": max(accounts[-1]["memory"].values()) - before,
    }


def _resident() -> float:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


if __name__ == "__main__":
    main()
