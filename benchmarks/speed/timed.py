"""What every ``run_*.py`` does: times an evaluation and a training step of one model on one structure.

    python benchmarks/speed/run_NAME.py METHOD SYSTEM WORKS THREADS REPEATS LIMIT_S MEMORY_GB

WORKS is ``count``, or ``evaluate``, ``train`` or both with a comma between. Runs in each peer's environment.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import torch
from measure import peak_mb
from structures import SYSTEMS
from torch import Tensor, nn

WARM_UPS = 3
"""Calls before the measured ones: TorchScript, which e3nn uses, compiles in the first calls."""
LONG_CALL_S = 20.0
"""Processor seconds of a first call after which it is the only warm-up, and one call is measured."""


def main(
    packages: list[str],
    settings: Callable[[str], dict[str, Any]],
    build: Callable[[str, list[str], Any], nn.Module],
    convert: Callable[[nn.Module, ase.Atoms], Any],
    predict: Callable[[nn.Module, Any, bool], tuple[Tensor, Tensor]],
    deploy: Callable[[nn.Module], nn.Module] = lambda model: model,
    idle: Callable[[nn.Module], int] = lambda model: 0,
) -> None:
    """Print one JSON object for each work.

    Args:
        packages: whose versions are told.
        settings: method → settings of its model.
        build: method, symbols, atoms → model with random weights.
        convert: neighbour list and all else that a model wants instead of a structure.
        predict: total energy (eV) and forces (eV/Å), differentiable if the last argument is true.
        deploy: what a user makes of a model before evaluations.
        idle: parameters that belong to other elements than the only one of a model.
    """
    before = peak_mb()
    if len(sys.argv) != 8:
        sys.exit(f"{Path(sys.argv[0]).name}: is started by against_peers.py; start that")
    method, system, works, threads, repeats, limit, gigabytes = sys.argv[1:]
    most = int(float(gigabytes) * 1024**3)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    with contextlib.redirect_stdout(sys.stderr):
        atoms = SYSTEMS[system]()
        if works == "count":
            alone = build(method, ["O"], ase.Atoms("O8", [[i, 0, 0] for i in range(8)]))
            versions = {name: importlib.metadata.version(name) for name in packages}
            active = parameters(alone) - idle(alone)
            _say(settings=settings(method), versions=versions, active=active)
            return
        model = build(method, sorted(set(atoms.symbols)), atoms)
        trainable = [weight for weight in model.parameters() if weight.requires_grad]
        for work in works.split(","):
            model.train(work == "train")
            for weight in trainable:
                weight.requires_grad_(work == "train")
            if work == "train":
                call = _training_step(model, convert(model, atoms), len(atoms), predict)
            else:
                call = _evaluation(deploy(model), atoms, convert, predict)
            figures = _times(call, int(repeats), float(limit))
            above = round(peak_mb() - before)
            sizes = {"atoms": len(atoms), "parameters": sum(p.numel() for p in trainable)}
            rate = round(len(atoms) / figures["cpu_s"], 1)
            _say(work=work, **sizes, **figures, atoms_per_s=rate, above_imports_mb=above)


def parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _evaluation(
    model: nn.Module, atoms: ase.Atoms, convert: Callable, predict: Callable
) -> Callable[[], None]:
    def call() -> None:
        energy, forces = predict(model, convert(model, atoms), False)
        if not bool(torch.isfinite(forces).all()) or not bool(forces.any()):
            raise SystemExit(f"forces are not finite or all zero, energy {energy}")

    return call


def _training_step(
    model: nn.Module, graph: object, atoms: int, predict: Callable
) -> Callable[[], None]:
    """Forward, forces, squared errors of both against zero labels, backward; no optimiser."""

    def call() -> None:
        model.zero_grad(set_to_none=True)
        energy, forces = predict(model, graph, True)
        ((energy / atoms).square().sum() + forces.square().mean()).backward()

    return call


def _times(call: Callable[[], None], repeats: int, limit: float) -> dict[str, float]:
    """Medians of processor and wall seconds after warm-ups; the process ends after ``limit`` processor seconds."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + limit) + 1, hard))
    first, _ = _once(call)
    if first > LONG_CALL_S:
        repeats = 1
    else:
        for _ in range(WARM_UPS - 1):
            call()
    found = [_once(call) for _ in range(repeats)]
    cpu, wall = (statistics.median(column) for column in zip(*found, strict=True))
    return {"cpu_s": round(cpu, 4), "wall_s": round(wall, 4), "calls": repeats}


def _once(call: Callable[[], None]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def _say(**figures: object) -> None:
    print(json.dumps(figures), file=sys.__stdout__, flush=True)
