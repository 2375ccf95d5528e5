"""One form of our model on one structure: seconds and peak memory, as JSON on the last line.

    python benchmarks/speed/run_form.py FORM WORK PRESET SYSTEM DEVICE THREADS REPEATS

FORM is naive, plain, compiled or recomputing; WORK is train (energy, forces, gradients of a loss of both) or evaluate.
Seconds are of the processor on a CPU and by the clock on a GPU; memory there is what torch took.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from measure import peak_mb
from naive import energy_and_gradient, flat_graph
from structures import SYSTEMS

from janus_md.export import merge_experts
from janus_md.graph import batch_graphs, build_graph
from janus_md.graph.tables import keep_together, suited_to
from janus_md.model import MatRISMoE, predict, preset
from janus_md.model.engine import Engine
from janus_md.model.recompute import RecomputingDerivatives
from janus_training.freed_memory import keep_freed_memory
from janus_training.planner.measure import finish
from janus_training.staged import Sizes, StagedDerivatives

WARM_UPS = 2
"""Calls after the first, before the measured ones: on a GPU kernels and workspaces are chosen in them."""


def naive(model: MatRISMoE, structures: list, training: bool, _: str) -> Callable[[], float]:
    graph = flat_graph(model, structures).to(device_of(model))

    def work() -> float:
        total, gradient = energy_and_gradient(model, graph, training)
        if training:
            (total.square() * 1e-6 + gradient.square().mean()).backward()
        return float(total.detach())

    return work


def ours(model: MatRISMoE, structures: list, training: bool, form: str) -> Callable[[], float]:
    if training:
        keep_freed_memory()  # as ``janus-md train`` does
    config = model.config
    graphs = [build_graph(atoms, config.cutoff, config.line_cutoff) for atoms in structures]
    device = device_of(model)
    layout = keep_together if form == "compiled" else suited_to(device, model.floats_per_edge)
    batch = batch_graphs(graphs, layout=layout).to(device)
    engine: Engine | None = None
    if form == "compiled":
        engine = StagedDerivatives(model, Sizes.of(batch))
    elif form == "recomputing":
        engine = RecomputingDerivatives(model)
    deployed = model if training else merge_experts(model).requires_grad_(False)

    def work() -> float:
        found = predict(deployed, batch, training=training, engine=engine)
        if training:
            (found.energy.sum().square() * 1e-6 + found.forces.square().mean()).backward()
        return float(found.energy.detach().sum())

    return work


def device_of(model: MatRISMoE) -> torch.device:
    return next(model.parameters()).device


def memory_mb(device: torch.device) -> float:
    """Peak so far: of this process, or of what it took of a GPU."""
    if device.type == "cpu":
        return peak_mb()
    return torch.cuda.max_memory_allocated(device) / 1024**2


def main() -> None:
    if len(sys.argv) != 8:
        sys.exit("run_form.py: is started by forms.py; start that")
    form, kind, name, system, place, threads, repeats = sys.argv[1:]
    device = torch.device(place)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    structures = [SYSTEMS[system]()]
    elements = sorted({symbol for atoms in structures for symbol in atoms.symbols})
    model = MatRISMoE(preset(name, elements=elements)).to(device)
    before = memory_mb(device)
    training = kind == "train"
    work = (naive if form == "naive" else ours)(model, structures, training, form)
    start = time.perf_counter()
    energy = work()
    first = time.perf_counter() - start
    seconds = []
    for _ in range(WARM_UPS + int(repeats)):
        for parameter in model.parameters():
            parameter.grad = None
        finish(device)
        start = clock()
        work()
        finish(device)
        seconds.append(clock() - start)
    print(
        json.dumps(
            {
                "energy": energy,
                "first_s": round(first, 2),
                "seconds": round(statistics.median(seconds[WARM_UPS:]), 4),
                "above_imports_mb": round(memory_mb(device) - before),
                "atoms": sum(map(len, structures)),
            }
        )
    )


if __name__ == "__main__":
    main()
