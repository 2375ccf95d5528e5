"""Share of a device's FP32 peak that training steps reach, and where their time goes.

    python benchmarks/speed/peak.py --models 10m moe-l-block --atoms 216 --copies 4 --tflops 66.9 -o FILE.json

Steps are the trainer's own: energies, forces, both backward phases, clipping, optimiser, in FP32 (TF32 off), one
process on one device. Crystals are rattled, with elements drawn at random. Operations are those of the products alone
(``janus_training.planner.flops``), counted without data in the plain form, so that what a form computes twice does not
count. The peak is ``--tflops``, that of the data sheet (66.9 for an H100 or H200 SXM), beside that of one large product
measured here; without ``--tflops`` shares are of the measured one. Seconds of phases are of further steps that wait for
the device at the end of each phase, wall time. ``--machine`` adds what the planner expects of one.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from chosen import make_folder_of, refuse_not_positive
from processor import device_name
from structures import structure
from torch.autograd import DeviceType

from janus_md.calculators.source import choose_device
from janus_md.errors import UserError
from janus_md.io import Frame
from janus_md.model import MatRISMoE
from janus_training.config import Config
from janus_training.graph_store import GraphStore
from janus_training.model_section import resolve_model
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.ledger import PHASES, UPDATE, Ledger
from janus_training.parallel.mesh import Mesh
from janus_training.parallel.share import Share, Shares
from janus_training.planner.machine import Machine, load_machine
from janus_training.planner.measure import ALONE, elapsed, finish, product_rate
from janus_training.planner.rehearsal import Rehearsal, rehearse
from janus_training.planner.time import time_of
from janus_training.planner.workload import routes_of
from janus_training.prepare import suited_layout
from janus_training.staged import Sizes, StagedDerivatives
from janus_training.step import take_step

MODELS: dict[str, dict[str, Any]] = {
    **{name: {"preset": name} for name in ("tiny", "lean", "small", "10m", "moe-s")},
    "10m-3-blocks": {"preset": "10m", "blocks": 3},
    "moe-l-block": {"preset": "moe-l", "blocks": 1},
}
FORMS = "plain", "compiled"
PRODUCTS = re.compile("gemm|gemv|cutlass|xmma", re.IGNORECASE)
"""Names of kernels that multiply matrices."""

WARM_UPS = 3
ROWS_OF_PROFILE = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["10m"])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["plain"])
    parser.add_argument("--atoms", type=int, default=64, help="of a structure, about")
    parser.add_argument("--copies", type=int, nargs="+", default=[1], help="structures of a batch")
    parser.add_argument("--elements", type=int, default=80, help="the first ones")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--tflops", type=float, help="FP32 peak of the device")
    parser.add_argument(
        "--machine", type=Path, help="of the planner, whose estimate of a step is added"
    )
    parser.add_argument("--repeats", type=int, default=5, help="measured steps")
    parser.add_argument(
        "--trace", type=Path, metavar="FOLDER", help="for traces of chrome://tracing"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="JSON of all figures")
    options = parser.parse_args()
    try:
        device = choose_device(options.device)
        machine = None if options.machine is None else load_machine(options.machine)
        refuse_not_positive(options, "atoms", "copies", "elements", "repeats", "tflops")
        make_folder_of(options.output)
    except UserError as error:
        sys.exit(f"peak.py: {error}")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if device.type == "cpu":
        torch.set_num_threads(1)
    rate = product_rate(device, 8192 if device.type == "cuda" else 1024) / 1e12
    peak = options.tflops or rate
    name = device_name(device) if device.type == "cuda" else f"one thread of {device_name(device)}"
    print(f"{name}: a large product {rate:.3g} TFLOPS, peak {peak:.3g}")
    rows = []
    for model in options.models:
        for form in options.forms:
            step = Step(model, form, options.elements, device)
            for copies in options.copies:
                step.take(options.atoms, copies)
                row = step.figures(options.repeats, peak) | step.profile(options.trace)
                if machine is not None:
                    row["planned_s"] = step.planned(machine, options.atoms, copies)
                rows.append(row)
                print(line(row), flush=True)
            del step
    if options.output:
        about = {
            "device": name, "torch": torch.__version__,
            "product_tflops": rate, "peak_tflops": peak,
        }  # fmt: skip
        options.output.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


class Step:
    """A model, its optimiser and one batch at a time on a device."""

    share: Share

    def __init__(self, name: str, form: str, elements: int, device: torch.device) -> None:
        self.name, self.form, self.device = name, form, device
        self.symbols = chemical_symbols[1 : elements + 1]
        self.config = configuration(MODELS[name], self.symbols, compiled=form == "compiled")
        torch.manual_seed(0)
        with device:
            model = MatRISMoE(resolve_model(self.config.model, [], []))
        self.ledger = WaitingLedger(device)
        self.janus = Janus(model, Mesh(ledger=self.ledger), self.config.parallel)
        self.optimizer = build_optimizer(model, self.config.optimiser, 1.0)

    def take(self, atoms: int, copies: int) -> None:
        """The batch of the next steps; the first is what a compiled step is tuned to."""
        store = crystals(self.config, self.symbols, atoms, copies, self.device)
        model, janus = self.janus.model, self.janus
        self.rehearsal = rehearsed(model, self.config, store)
        share = Shares(store, janus.mesh, janus.too_large)(range(copies))
        self.share = share.to(self.device)
        if self.form == "compiled" and janus.engine is None:
            janus.engine = StagedDerivatives(model, Sizes.of(self.share.batch.graphs))
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def planned(self, machine: Machine, atoms: int, copies: int) -> float:
        """Seconds that the planner expects of a machine's device."""
        store = crystals(self.config, self.symbols, atoms, copies, machine.device)
        rehearsal = rehearsed(self.janus.model, self.config, store)
        return time_of(machine, ALONE, [rehearsal], overlap=True).total

    def __call__(self) -> None:
        """One step; its sums of losses are read at the end, so the device is done with it."""
        take_step(self.janus, self.optimizer, self.share, self.config, 1.0)

    def figures(self, repeats: int, peak: float) -> dict[str, Any]:
        """Seconds, operations and shares of the peak, with and without the optimiser's update."""
        for _ in range(WARM_UPS):
            self()
        whole = statistics.median(elapsed(self, self.device) for _ in range(repeats))
        phases = self.phases(repeats)
        by_phase = self.rehearsal.flops
        flops = sum(by_phase.values())
        before_update = flops - by_phase.get(UPDATE, 0.0)
        seconds_before_update = whole * (1.0 - phases[UPDATE] / sum(phases.values()))
        graphs = self.share.batch.graphs
        return {
            "model": self.name, "form": self.form,
            "parameters": sum(p.numel() for p in self.janus.model.parameters()),
            "structures": graphs.num_graphs, "atoms": graphs.num_atoms,
            "slots": sum(table.numel() for table in graphs.neighbours),
            "step_s": whole, "atoms_per_s": graphs.num_atoms / whole,
            "tflop": flops / 1e12, "tflop_by_phase": {k: v / 1e12 for k, v in by_phase.items()},
            "seconds_by_phase": phases,
            "share": flops / whole / (1e12 * peak),
            "share_before_update": before_update / seconds_before_update / (1e12 * peak),
            "memory_gb": torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.type == "cuda" else None,
        }  # fmt: skip

    def phases(self, repeats: int) -> dict[str, float]:
        """Medians of the seconds of each phase; a compiled step does not tell the first two apart, nor the next two."""
        found = []
        self.ledger.waits = True
        for _ in range(repeats):
            self.ledger.close()
            self()
            found.append(self.ledger.close()["seconds"])
        self.ledger.waits = False
        return {name: statistics.median(table.get(name, 0.0) for table in found) for name in PHASES}

    def profile(self, folder: Path | None) -> dict[str, Any]:
        """Where the time of a step went: its operators, or kernels of a GPU, that took most; its trace, to ``folder``.

        Of a GPU also the seconds it was busy, and the share of products in them.
        """
        with torch.profiler.profile() as profile:
            self()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            file = f"{self.name}-{self.form}-{self.share.batch.graphs.num_graphs}.json.gz"
            profile.export_chrome_trace(str(folder / file))
        spent: dict[str, list[float]] = defaultdict(list)
        if self.device.type == "cuda":
            for event in profile.events():
                if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
                    spent[event.name].append(1e-6 * event.time_range.elapsed_us())
        else:
            for row in profile.key_averages():
                spent[row.key] = [1e-6 * row.self_cpu_time_total / row.count] * row.count
        sums = {name: sum(values) for name, values in spent.items()}
        busy = sum(sums.values())
        found: dict[str, Any] = {
            "profile": [
                {"operator": name[:120], "calls": len(spent[name]), "share": sums[name] / busy}
                for name in sorted(sums, key=lambda name: -sums[name])[:ROWS_OF_PROFILE]
            ]
        }
        if self.device.type == "cuda":
            products = sum(value for name, value in sums.items() if PRODUCTS.search(name))
            kernels = sum(map(len, spent.values()))
            found |= {"busy_s": busy, "busy_products": products / busy, "kernels": kernels}
        return found


class WaitingLedger(Ledger):
    """One that waits for the device before a phase ends, while ``waits``."""

    def __init__(self, device: torch.device) -> None:
        self.waits, self._device = False, device
        super().__init__()

    def _leave(self) -> None:
        if self.waits:
            finish(self._device)
        super()._leave()


def configuration(fields: dict[str, Any], symbols: list[str], compiled: bool) -> Config:
    """A recipe with this model, all else its default."""
    model = resolve_model(fields, symbols, ["random"]).model_dump(mode="json")
    content = {
        "model": model,
        "data": {"sets": [{"path": "none"}]},
        # That of large models, of whose matrices SOAP would keep four more each.
        "optimiser": {"method": "muon"},
        "train": {"steps": 1, "compile": compiled},
    }
    return Config.model_validate(content)


def crystals(
    config: Config, symbols: list[str], atoms: int, copies: int, device: torch.device
) -> GraphStore:
    """Rattled rock salt whose sites hold elements at random, in a layout that suits the model."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(copies):
        made = structure("salt", atoms)
        made.symbols = rng.choice(symbols, len(made))
        forces = rng.normal(size=(len(made), 3))
        frames.append(Frame(made, -3.0 * len(made), forces, None, task="random"))
    model = config.model
    store = GraphStore(frames, model["tasks"], model["cutoff"], model["line_cutoff"], 1.0)
    store.layout = suited_layout(config, store, device)
    return store


def rehearsed(model: MatRISMoE, config: Config, store: GraphStore) -> Rehearsal:
    """A step without data, of which the operations of the products are counted."""
    chosen = routes_of(model)
    batch = range(len(store))
    return rehearse(config, ALONE, 0, lambda m, j: Shares(store, m, j.too_large)(batch), chosen)


def line(row: dict[str, Any]) -> str:
    phases = ", ".join(f"{name} {value:.3g}" for name, value in row["seconds_by_phase"].items())
    said = (
        f"{row['model']} {row['form']}: {row['atoms']} atoms, {row['step_s']:.3g} s a step ({phases}), "
        f"{row['tflop']:.3g} TFLOP, {100 * row['share']:.1f} % of the peak, "
        f"{100 * row['share_before_update']:.1f} % before the update"
    )
    if "busy_s" in row:
        products = 100 * row["busy_products"]
        said += f", busy {row['busy_s']:.3g} s, {products:.0f} % of it products"
    if "planned_s" in row:
        said += f", planned {row['planned_s']:.3g} s"
    return said


if __name__ == "__main__":
    main()
