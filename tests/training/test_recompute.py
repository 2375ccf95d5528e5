"""Recomputed steps have the derivatives of plain ones, hold less memory, and are taken where the budget says so."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from weakref import WeakSet

import ase
import pytest
import torch
from ase.build import bulk
from torch import Tensor

import janus_training.trainer as trainer
from janus_md.errors import UserError
from janus_md.graph import GraphBatch, batch_graphs, build_graph
from janus_md.model import MatRISMoE, predict, preset
from janus_md.model.engine import Engine, PlainDerivatives
from janus_md.model.recompute import RecomputingDerivatives, activations
from janus_md.ops.recomputed import Recomputing, recomputed
from janus_training.config import ParallelConfig
from janus_training.loop import train
from janus_training.memory import TRAINING_FACTOR, WithinMemory, training_bytes
from janus_training.metrics import read_metrics
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Mesh
from janus_training.recipe import load_config

SMALL = {"elements": ["Na", "Cl"], "num_radial": 3, "num_angular": 3, "cutoff": 5.0}
VARIANTS = {
    "dense": {"num_message_experts": 0, "num_feature_experts": 0},
    "moe": {"num_message_experts": 3, "num_feature_experts": 3, "top_k": 2},
    "moe, no line attention": {
        "num_message_experts": 3,
        "num_feature_experts": 3,
        "top_k": 2,
        "line_blocks": 0,
    },
    "line attention first": {
        "num_message_experts": 0,
        "num_feature_experts": 0,
        "blocks": 3,
        "line_blocks": 1,
    },
    "graph embeddings": {"charge": True, "spin": True, "composition": True, "magmoms": True},
}


def salt() -> ase.Atoms:
    atoms = bulk("NaCl", "rocksalt", a=5.4, cubic=True)
    atoms.rattle(0.2, seed=0)
    return atoms


def batch_of(model: MatRISMoE, *structures: ase.Atoms, buckets: int = 1) -> GraphBatch:
    config = model.config
    graphs = [build_graph(atoms, config.cutoff, config.line_cutoff) for atoms in structures]

    def layout(counts, numbers):
        parts = torch.arange(len(numbers)).tensor_split(buckets)
        return [part.numpy()[numbers[part.numpy()].argsort(kind="stable")] for part in parts], None

    batch = batch_graphs(graphs, spin=[1.0] * len(graphs), layout=layout)
    return dataclasses.replace(batch, volume=torch.ones_like(batch.volume))


def loss_of(model: MatRISMoE, batch: GraphBatch, engine: Engine) -> Tensor:
    """Of energies, forces and stress, none of whose gradients cancel; of magnetic moments where there are any."""
    found = predict(model, batch, stress=True, training=True, engine=engine)
    loss = found.energy.square().sum() + found.forces.sin().sum() + found.stress.square().sum()
    return loss if found.magmoms is None else loss + found.magmoms.square().sum()


def share(model: MatRISMoE, batch: GraphBatch, fraction: float) -> float:
    """Of the bytes that all blocks of an evaluation would keep."""
    return fraction * activations(model, sum(table.numel() for table in batch.neighbours))


def starts(model: MatRISMoE, batch: GraphBatch) -> float:
    """Bytes of the edges that each block starts from, which count first."""
    slots = sum(table.numel() for table in batch.neighbours)
    size = next(iter(model.parameters())).element_size()
    return size * model.num_blocks * slots * model.config.edge_width


def gradients_of(model: MatRISMoE, batch: GraphBatch, engine: Engine) -> dict[str, Tensor | None]:
    model.zero_grad()
    loss_of(model, batch, engine).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("kept", [0.0, 0.6])
@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_gradients_are_those_of_the_plain_step(variant: str, kept: float) -> None:
    torch.manual_seed(0)
    model = MatRISMoE(preset("tiny", **(SMALL | VARIANTS[variant]))).double()
    lonely = ase.Atoms("Na", [[0, 0, 0]])
    for structures, buckets in (([salt(), salt()], 3), ([salt(), lonely], 1), ([lonely], 1)):
        batch = batch_of(model, *structures, buckets=buckets)
        plain = PlainDerivatives(model)
        again = RecomputingDerivatives(model, share(model, batch, kept))
        wanted = gradients_of(model, batch, plain)
        for name, gradient in gradients_of(model, batch, again).items():
            if wanted[name] is None:
                assert gradient is None or not gradient.any(), name
            else:
                size = 1e-10 * float(wanted[name].abs().max()) + 1e-13
                torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=size, msg=name)
        expected = predict(model, batch, stress=True, training=True, engine=plain)
        found = predict(model, batch, stress=True, training=True, engine=again)
        for name in ("energy", "forces", "stress", "virials"):
            torch.testing.assert_close(
                getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-12
            )


def test_derivatives_of_every_order_of_a_small_function() -> None:
    """Some inputs without gradients, one that is not used, one result that does not depend on the inputs."""
    random = torch.Generator().manual_seed(0)
    x, w = (torch.randn(3, 3, generator=random, dtype=torch.float64) for _ in range(2))
    unused, fixed = torch.ones(2, dtype=torch.float64), torch.tensor([2, 0, 1])
    x.requires_grad_(), w.requires_grad_(), unused.requires_grad_()

    def function(x: Tensor, w: Tensor, unused: Tensor, fixed: Tensor) -> tuple[Tensor, ...]:
        hidden = torch.tanh(x[fixed] @ w)
        return hidden * x, (hidden @ w).exp(), fixed

    def again(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return recomputed(function, x, w, unused, fixed)[:2]

    assert torch.autograd.gradcheck(again, (x, w))
    assert torch.autograd.gradgradcheck(again, (x, w))

    def third(call) -> list[Tensor]:
        value = sum(result.sum() for result in call(x, w))
        for _ in range(2):
            first, second = torch.autograd.grad(value, (x, w), create_graph=True)
            value = first.sin().sum() + second.cos().sum()
        return list(torch.autograd.grad(value, (x, w)))

    expected = third(lambda x, w: function(x, w, unused, fixed)[:2])
    torch.testing.assert_close(third(again), expected, rtol=1e-12, atol=1e-12)


class Ledger:
    """Bytes that the graphs of a step keep for their backward passes; a storage counts once."""

    def __init__(self) -> None:
        self.now = self.highest = 0
        self._users: Counter[int] = Counter()

    def enter(self, storage: torch.UntypedStorage) -> None:
        self._users[storage.data_ptr()] += 1
        if self._users[storage.data_ptr()] == 1:
            self.now += storage.nbytes()
            self.highest = max(self.highest, self.now)

    def leave(self, storage: torch.UntypedStorage) -> None:
        self._users[storage.data_ptr()] -= 1
        if self._users[storage.data_ptr()] == 0:
            self.now -= storage.nbytes()


class Held:
    """A tensor as a graph keeps it, and how long."""

    def __init__(self, tensor: Tensor, ledger: Ledger) -> None:
        self.tensor, self._ledger = tensor, ledger
        ledger.enter(tensor.untyped_storage())

    def __del__(self) -> None:
        self._ledger.leave(self.tensor.untyped_storage())


def bytes_of_step(model: MatRISMoE, batch: GraphBatch, engine: Engine) -> tuple[int, int]:
    """Kept when the loss is known; most at any time of the step, the transient graphs of recomputed blocks included."""
    ledger = Ledger()
    hooks = torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: Held(tensor, ledger), lambda held: held.tensor
    )
    with hooks:
        loss = loss_of(model, batch, engine)
        before = ledger.now
        loss.backward()
    return before, ledger.highest


def test_a_step_keeps_less() -> None:
    """Deep enough that what one block keeps is little beside all."""
    torch.manual_seed(0)
    model = MatRISMoE(preset("tiny", **(SMALL | {"blocks": 6}))).double()
    batch = batch_of(model, salt().repeat((2, 2, 1)), buckets=4)
    plain_kept, plain_highest = bytes_of_step(model, batch, PlainDerivatives(model))
    again_kept, again_highest = bytes_of_step(model, batch, RecomputingDerivatives(model))
    assert again_kept < plain_kept / 4
    assert again_highest < plain_highest / 3
    some = RecomputingDerivatives(model, share(model, batch, 0.5))
    some_kept, some_highest = bytes_of_step(model, batch, some)
    assert again_kept < 0.5 * some_kept and some_kept < 0.8 * plain_kept
    assert some_highest < 0.8 * plain_highest


@pytest.mark.parametrize(("kept", "runs"), [(0.0, 2), (0.4, 1.6), (1.0, 1)])
def test_as_much_is_computed_again_as_does_not_fit(kept: float, runs: float) -> None:
    """Five blocks of one bucket, evaluated: runs of a block per block."""
    torch.manual_seed(0)
    model = MatRISMoE(preset("tiny", **(SMALL | {"blocks": 5}))).double()
    batch, calls = batch_of(model, salt()), []
    for block in model.blocks:
        block.register_forward_hook(lambda *_: calls.append(1))
    expected = predict(model, batch, stress=True)
    calls.clear()
    engine = RecomputingDerivatives(model, starts(model, batch) + share(model, batch, kept) + 1)
    found = predict(model, batch, stress=True, engine=engine)
    assert len(calls) == runs * len(model.blocks)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.stress, expected.stress, rtol=1e-12, atol=1e-12)


def test_an_evaluation_lets_go_of_a_bucket_that_is_done_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The edges of all buckets of a block were kept until the last was done."""
    alive, counts = WeakSet(), []

    class Counted(Recomputing):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            alive.add(self)

        def pull_back(self, given):
            counts.append(len(alive))
            return super().pull_back(given)

    monkeypatch.setattr("janus_md.model.recompute.Recomputing", Counted)
    model = MatRISMoE(preset("tiny", **(SMALL | {"blocks": 3})))
    batch = batch_of(model, salt(), buckets=4)
    predict(model, batch, engine=RecomputingDerivatives(model))
    # Three blocks' steps go one by one; what makes the edges of the four buckets stays until the end.
    assert counts == [*range(16, 4, -1), 4, 4, 4, 4]


def test_the_budget_decides() -> None:
    torch.manual_seed(0)
    model = MatRISMoE(preset("tiny", **SMALL))
    small, large = batch_of(model, salt()), batch_of(model, salt(), salt())
    sizes = (sum(table.numel() for table in batch.neighbours) for batch in (small, large))
    assert training_bytes(model, next(sizes)) < 2.7e6 < training_bytes(model, next(sizes))
    engine = WithinMemory(model, 2.7e-3)
    some = RecomputingDerivatives(model, 2.7e6 / TRAINING_FACTOR)
    for batch, same in ((small, PlainDerivatives(model)), (large, some)):
        assert bytes_of_step(model, batch, engine) == bytes_of_step(model, batch, same)


def test_a_run_within_little_memory_follows_the_plain_one(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Experts, stress and missing labels included."""
    monkeypatch.setattr(trainer, "write_report", lambda *_: None)
    losses = {}
    for memory in ("null", "0", "1000"):
        settings = [f"train.memory={memory}", "train.dtype=float64", "train.steps=5"]
        run = train(load_config(recipe, settings), tmp_path / memory)
        losses[memory] = [row["loss"] for row in read_metrics(run) if row["kind"] == "train"]
    assert losses["0"] == pytest.approx(losses["null"], rel=1e-9)
    assert losses["1000"] == losses["null"]


def test_a_rank_alone_recomputes_where_it_is_told_to() -> None:
    """Whatever the budget says; left to itself it goes by the budget."""
    torch.manual_seed(0)
    model = MatRISMoE(preset("tiny", **SMALL))
    batch = batch_of(model, salt())
    kept, none_kept = PlainDerivatives(model), RecomputingDerivatives(model, 0.0)
    for recompute, memory, same in (
        (True, None, none_kept), (True, 1000.0, none_kept), (False, 0.0, kept),
        ("auto", None, kept), ("auto", 0.0, none_kept), ("auto", 1000.0, kept),
    ):  # fmt: skip
        engine = Janus(model, Mesh(), ParallelConfig(recompute=recompute), memory).engine
        found = bytes_of_step(model, batch, engine or PlainDerivatives(model))
        assert found == bytes_of_step(model, batch, same), (recompute, memory)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["parallel.regather=true"], "set regather=auto or unit=N above 1"),
        (["parallel.shard_graphs=true"], "set shard_graphs=auto or unit=N above 1"),
        (["parallel.compress_experts=fp16"], "set compress_experts=none or unit=N above 1"),
        (["parallel.recompute=true", "train.compile=true"], "parallel.recompute=auto"),
    ],
)
def test_what_a_rank_alone_cannot_do_is_one_sentence(
    recipe: Path, settings: list[str], said: str
) -> None:
    with pytest.raises(UserError, match=said) as fault:
        load_config(recipe, settings)
    assert "\n" not in str(fault.value)


def test_compiled_and_recomputed_is_one_sentence(recipe: Path) -> None:
    with pytest.raises(UserError, match="set compile=false or memory=null") as fault:
        load_config(recipe, ["train.memory=1", "train.compile=true"])
    assert "\n" not in str(fault.value)
