"""What this machine does: the model's own steps on one rank, and messages between two over gloo."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ase.build import bulk
from scipy.optimize import nnls

from janus_md.io import Frame
from janus_md.model import MatRISMoE
from janus_md.process_memory import memory_limit
from janus_training.config import Config
from janus_training.graph_store import GraphStore
from janus_training.model_section import resolve_model
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Mesh
from janus_training.parallel.processes import on_ranks
from janus_training.parallel.share import Shares
from janus_training.planner.layout import Layout
from janus_training.planner.machine import Link, Machine
from janus_training.planner.rehearsal import Rehearsal, rehearse
from janus_training.planner.workload import routes_of
from janus_training.step import take_step

TRIALS: Sequence[tuple[dict[str, Any], int]] = (
    ({"preset": "tiny"}, 1),
    ({"preset": "tiny"}, 6),
    ({"preset": "small", "blocks": 2}, 1),
    ({"preset": "small", "blocks": 2}, 3),
    ({"preset": "small", "blocks": 2}, 6),
    ({"preset": "10m", "blocks": 1}, 1),
)
"""Models and numbers of structures, from many small operators to few large ones."""

REPEATS = 4
PATIENCE_S = 600
CPU = torch.device("cpu")
ALONE = Layout(1, 1, False, False, False, False)


@dataclass(frozen=True)
class Rates:
    """FLOPS of products, bytes per second of operators, seconds of a call."""

    products: float
    traffic: float
    overhead: float


def measured() -> Machine:
    """The machine this runs on, with one rank a core; minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steps = [_seconds(trial) for trial in TRIALS]
        rates = fitted([_rehearsed(trial) for trial in TRIALS], steps)
        peak = max(product_rate(), rates.products)  # other work may have slowed one of them
    finally:
        torch.set_num_threads(threads)
    cores = len(os.sched_getaffinity(0))
    crowded = max(on_ranks(cores, _seconds, TRIALS[2])) / steps[2] if cores > 1 else 1.0
    latency, bandwidth = on_ranks(2, _messages)[0]
    return Machine(
        name=socket.gethostname(),
        devices=2 * cores,
        memory=_rounded(memory_limit() / 1e9 / (2 * cores)),
        peak=_rounded(peak / 1e12),
        achieved=_rounded(rates.products / peak),
        traffic=_rounded(rates.traffic / 1e9),
        overhead=_rounded(rates.overhead * 1e6),
        ahead=False,
        cores=cores,
        crowding=_rounded(max(1.0, crowded)),
        inside=Link(bandwidth=_rounded(bandwidth / 1e9), latency=_rounded(latency * 1e6)),
    )


def fitted(rehearsals: Sequence[Rehearsal], seconds: Sequence[float]) -> Rates:
    """Non-negative rates with the smallest relative error of these steps' times."""
    amounts = np.array(
        [[sum(t.values()) for t in (r.flops, r.touched, r.calls)] for r in rehearsals]
    )
    scaled = amounts / np.array(seconds)[:, None]
    size = scaled.max(axis=0)  # of very different magnitudes
    found, _ = nnls(scaled / size, np.ones(len(seconds)))
    found = np.maximum(found / size, 1e-18)
    return Rates(1.0 / found[0], 1.0 / found[1], found[2])


def _config(fields: dict[str, Any]) -> Config:
    model = resolve_model(fields | {"cutoff": 5.0, "line_cutoff": 4.0}, ["Na", "Cl"], ["a"])
    content = {
        "model": model.model_dump(mode="json"),
        "data": {"sets": [{"path": "none"}]},
        "train": {"steps": 1},
    }
    return Config.model_validate(content)


def _store(config: Config) -> GraphStore:
    """Rattled rock salt of different sizes."""
    rng, frames = np.random.default_rng(0), []
    for number in range(6):
        atoms = bulk("NaCl", "rocksalt", 5.6, cubic=True) * (1 + number % 3, 1, 1)
        atoms.rattle(0.1, seed=number)
        forces = rng.normal(size=(len(atoms), 3))
        frames.append(Frame(atoms, -3.0 * len(atoms), forces, None, task="a"))
    model = config.model
    return GraphStore(frames, model["tasks"], model["cutoff"], model["line_cutoff"], 1.0)


def _seconds(trial: tuple[dict[str, Any], int]) -> float:
    """Processor seconds of a step on one thread: other work on the machine does not count."""
    fields, count = trial
    config = _config(fields)
    torch.manual_seed(0)
    model = MatRISMoE(resolve_model(config.model, [], []))
    janus = Janus(model, Mesh(), config.parallel)
    optimizer = build_optimizer(model, config.optimiser, 1.0)
    share = Shares(_store(config), janus.mesh, janus.too_large)(range(count))
    step = partial(take_step, janus, optimizer, share, config, 1.0)
    return min([elapsed(step) for _ in range(REPEATS)][1:])


def _rehearsed(trial: tuple[dict[str, Any], int]) -> Rehearsal:
    fields, count = trial
    config = _config(fields)
    torch.manual_seed(0)
    model, store = MatRISMoE(resolve_model(config.model, [], [])), _store(config)
    chosen = routes_of(model)
    return rehearse(
        config, ALONE, 0, lambda m, j: Shares(store, m, j.too_large)(range(count)), chosen
    )


def product_rate(device: torch.device = CPU, size: int = 1024) -> float:
    """FLOPS of a product of two matrices of ``size`` rows and columns, on a CPU of as many threads as torch has."""
    a = torch.randn(size, size, device=device)
    return 2 * size**3 / min([elapsed(lambda: torch.mm(a, a), device) for _ in range(6)][1:])


def elapsed(work: Callable[[], object], device: torch.device = CPU) -> float:
    """Wall seconds on a GPU; processor seconds on a CPU, where other work does not count."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    finish(device)
    begin = clock()
    work()
    finish(device)
    return clock() - begin


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _messages() -> tuple[float, float]:
    """Seconds of a small all-gather, and bytes per second that a rank sends in large ones."""

    def seconds(size: int, repeats: int) -> float:
        x = torch.zeros(size)
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        times = []
        for _ in range(repeats):
            dist.barrier()
            begin = time.perf_counter()
            dist.all_gather(parts, x)
            times.append(time.perf_counter() - begin)
        # Other work delays many of them by milliseconds; it makes none faster.
        return float(np.quantile(times, 0.2))

    small, large, floats = seconds(16, 200), seconds(4_000_000, 10), 4_000_000
    return small, 4 * floats / max(large - small, 1e-9)


def _rounded(value: float) -> float:
    """Three digits: more would not be seen again."""
    return float(f"{value:.3g}")
