"""One form of our model on one structure: seconds and peak memory, as JSON on the last line.

    python benchmarks/speed/run_form.py FORM WORK PRESET SYSTEM THREADS REPEATS

FORM is naive, plain, compiled or recomputing; WORK is train (energy, forces, gradients of a loss of both) or evaluate.
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
from janus_md.graph.batch import keep_together
from janus_md.model import MatRISMoE, predict, preset
from janus_md.model.engine import Engine
from janus_md.model.recompute import RecomputingDerivatives
from janus_training.staged import Sizes, StagedDerivatives


def naive(model: MatRISMoE, structures: list, training: bool, _: str) -> Callable[[], float]:
    graph = flat_graph(model, structures)

    def work() -> float:
        total, gradient = energy_and_gradient(model, graph, training)
        if training:
            (total.square() * 1e-6 + gradient.square().mean()).backward()
        return float(total.detach())

    return work


def ours(model: MatRISMoE, structures: list, training: bool, form: str) -> Callable[[], float]:
    config = model.config
    graphs = [build_graph(atoms, config.cutoff, config.line_cutoff) for atoms in structures]
    batch = batch_graphs(graphs, layout=keep_together if form == "compiled" else None)
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


def main() -> None:
    form, kind, name, system, threads, repeats = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    structures = [SYSTEMS[system]()]
    elements = sorted({symbol for atoms in structures for symbol in atoms.symbols})
    model = MatRISMoE(preset(name, elements=elements))
    before = peak_mb()
    training = kind == "train"
    work = (naive if form == "naive" else ours)(model, structures, training, form)
    start = time.perf_counter()
    energy = work()
    first = time.perf_counter() - start
    seconds = []
    for _ in range(int(repeats)):
        for parameter in model.parameters():
            parameter.grad = None
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    print(
        json.dumps(
            {
                "energy": energy,
                "first_s": round(first, 2),
                "cpu_s": round(statistics.median(seconds), 4),
                "above_imports_mb": round(peak_mb() - before),
                "atoms": sum(map(len, structures)),
            }
        )
    )


if __name__ == "__main__":
    main()
