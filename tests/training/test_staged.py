"""A compiled step has the derivatives of the plain one: of parameters too, where wrong ones would go unseen."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import ase
import pytest
import torch
from ase.build import bulk
from torch._inductor.exc import InvalidCxxCompiler

from janus_md.errors import UserError
from janus_md.graph import GraphBatch, batch_graphs, build_graph
from janus_md.graph.tables import Layout, NarrowRows, keep_together
from janus_md.model import MatRISMoE, predict, preset
from janus_md.model.engine import PlainDerivatives
from janus_training import staged
from janus_training.metrics import read_metrics
from janus_training.staged import Sizes, StagedDerivatives, trace

TYPICAL = Sizes(atoms=40, graphs=4, rows=40, slots=30, line=12)
NARROW = Sizes(atoms=40, graphs=4, rows=90, slots=7, line=0, width=7)
SMALL = {"elements": ["Na", "Cl"], "blocks": 1, "num_radial": 3, "num_angular": 3}
VARIANTS = {
    "dense": {"num_message_experts": 0, "num_feature_experts": 0},
    "moe": {"num_message_experts": 3, "num_feature_experts": 3, "top_k": 2},
    "graph-embeddings": {
        "num_message_experts": 0,
        "num_feature_experts": 0,
        "magmoms": True,
        "charge": True,
        "spin": True,
    },
}


def crystals() -> list[ase.Atoms]:
    first = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    second = bulk("NaCl", "rocksalt", a=4.9).repeat((2, 1, 1))
    for seed, atoms in enumerate((first, second)):
        atoms.rattle(0.2, seed=seed)
    return [first, second]


def molecule() -> list[ase.Atoms]:
    """All neighbours within the line cutoff: as many slots in the line graph as outside it."""
    return [ase.Atoms("NaClNa", [[0, 0, 0], [2.2, 0.1, 0], [3.0, 2.0, 0.2]])]


def lonely() -> list[ase.Atoms]:
    """One atom without any edge."""
    return [ase.Atoms("Na", [[0, 0, 0]])]


def batch_of(
    model: MatRISMoE, structures: list[ase.Atoms], layout: Layout = keep_together
) -> GraphBatch:
    config = model.config
    graphs = [build_graph(atoms, config.cutoff, config.line_cutoff) for atoms in structures]
    batch = batch_graphs(graphs, layout=layout)
    return dataclasses.replace(batch, volume=torch.ones_like(batch.volume))


def parameter_gradients(model, batch, engine):
    """Of a loss of energies, forces and stress."""
    found = predict(model, batch, stress=True, training=True, engine=engine)
    loss = found.energy.square().sum() + found.forces.sin().sum() + found.stress.square().sum()
    if found.magmoms is not None:
        loss = loss + found.magmoms.sum()
    model.zero_grad()
    loss.backward()
    gradients = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()
    }
    return found, gradients


class Uncompiled(StagedDerivatives):
    """The traced graph run as it is: the same derivatives without minutes of compilation."""

    def __init__(self, model: MatRISMoE, typical: Sizes = TYPICAL) -> None:
        self._plain = PlainDerivatives(model)
        self._compiled = trace(model, typical)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_gradients_are_those_of_the_plain_step(variant):
    torch.manual_seed(0)
    model = MatRISMoE(preset("tiny", **SMALL, **VARIANTS[variant])).double()
    engine = Uncompiled(model)
    for structures in (crystals(), molecule(), lonely(), crystals() + molecule()):
        batch = batch_of(model, structures)
        expected, wanted = parameter_gradients(model, batch, None)
        found, got = parameter_gradients(model, batch, engine)
        torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(found.forces, expected.forces, rtol=1e-10, atol=1e-12)
        for name, gradient in wanted.items():
            size = 1e-10 * float(gradient.abs().max()) + 1e-13
            torch.testing.assert_close(got[name], gradient, rtol=0, atol=size, msg=name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    expected = predict(model, batch, training=True)
    found = predict(model, batch, training=True, engine=engine)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("typical", "layout"), [(TYPICAL, keep_together), (NARROW, NarrowRows(7))])
def test_a_rank_without_atoms_takes_the_step_too(typical: Sizes, layout: Layout) -> None:
    """More ranks than structures in the last batch of an epoch; whole rows and narrow ones."""
    model = MatRISMoE(preset("tiny", **SMALL, **VARIANTS["dense"], line_blocks=0)).double()
    found, gradients = parameter_gradients(
        model, batch_of(model, [], layout), Uncompiled(model, typical)
    )
    assert found.energy.shape == (0,) and found.forces.shape == (0, 3)
    assert not any(gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize("variant", ["dense", "moe"])
def test_narrow_rows_change_no_derivative(variant):
    """Atoms that own several rows, plain and traced, against atoms of one row."""
    torch.manual_seed(0)
    settings = SMALL | VARIANTS[variant] | {"line_blocks": 0}
    model = MatRISMoE(preset("tiny", **settings)).double()
    traced = Uncompiled(model, NARROW)
    for structures in (crystals(), molecule(), lonely(), crystals() + molecule()):
        _, wanted = parameter_gradients(model, batch_of(model, structures), None)
        wanted = {name: gradient.clone() for name, gradient in wanted.items()}
        narrow = batch_of(model, structures, NarrowRows(7))
        assert all(table.shape[1] == 7 for table in narrow.neighbours)
        for engine in (None, traced):
            _, got = parameter_gradients(model, narrow, engine)
            for name, gradient in wanted.items():
                size = 1e-10 * float(gradient.abs().max()) + 1e-13
                torch.testing.assert_close(got[name], gradient, rtol=0, atol=size, msg=name)


@pytest.mark.slow
def test_a_compiled_run_follows_the_plain_one(recipe: Path, tmp_path: Path):
    """As users start it, through the compiler they have; experts, stress and missing labels included."""
    losses = {}
    small = ("model.blocks=1", "model.line_blocks=0", "model.num_radial=3", "train.dtype=float64")
    for compile in ("false", "true"):
        run = tmp_path / f"compiled-{compile}"
        command = [sys.executable, "-c", "from janus_md.cli.main import main; main()", "train"]
        command += [str(recipe), "-o", str(run), "--set", f"train.compile={compile}"]
        for setting in small:
            command += ["--set", setting]
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
        subprocess.run(command, check=True, env=environment)
        losses[compile] = [row["loss"] for row in read_metrics(run) if row["kind"] == "train"]
    assert losses["true"] == pytest.approx(losses["false"], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("typical", "layout"), [(TYPICAL, keep_together), (NARROW, NarrowRows(7))])
def test_one_compilation_serves_batches_of_every_size(typical: Sizes, layout: Layout) -> None:
    """Sums of more than 4,096 numbers, or all neighbours within the line cutoff, once had a program of their own."""
    line_blocks = 0 if typical.width else 1
    settings = SMALL | VARIANTS["moe"] | {"line_blocks": line_blocks}
    model = MatRISMoE(preset("tiny", **settings)).double()
    engine = StagedDerivatives(model, typical)
    large = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(3)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for structures in ([large], crystals(), molecule(), lonely(), [large, *crystals()]):
            batch = batch_of(model, structures, layout)
            _, wanted = parameter_gradients(model, batch, None)
            _, got = parameter_gradients(model, batch, engine)
            for name, gradient in wanted.items():
                size = 1e-10 * float(gradient.abs().max()) + 1e-13
                torch.testing.assert_close(got[name], gradient, rtol=0, atol=size, msg=name)


def test_no_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    def none_found() -> str:
        raise InvalidCxxCompiler

    monkeypatch.setattr(staged, "get_cpp_compiler", none_found)
    model = MatRISMoE(preset("tiny", **SMALL, num_message_experts=0, num_feature_experts=0))
    with pytest.raises(UserError, match=r"install g\+\+ or set train.compile=false"):
        StagedDerivatives(model, TYPICAL)
