"""What `janus-md plan` predicts against what a run takes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from parallel_support.gradients import DENSE, new_model, shares_of, store_of
from parallel_support.launchers import write_recipe
from parallel_support.plan import BATCH, Case, config_of, predicted, sent
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from training_support import metals

from janus_md.errors import UserError
from janus_md.io import write_frames
from janus_md.model import MatRISMoE
from janus_md.ops.expert_products import expert_contract, expert_expand, expert_outer
from janus_training.model_section import resolve_model
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Mesh
from janus_training.parallel.processes import on_ranks
from janus_training.parallel.share import Shares
from janus_training.planner.flops import products
from janus_training.planner.layout import Layout, imagined_mesh, layouts
from janus_training.planner.machine import Link, Machine, load_machine, write_machine
from janus_training.planner.plan import plan
from janus_training.planner.scaling import moved
from janus_training.planner.time import crowding, time_of
from janus_training.planner.traffic import Traffic
from janus_training.planner.workload import busiest, read_data, workload
from janus_training.recipe import load_config
from janus_training.step import take_step

CPU = torch.device("cpu")
TWO = {"blocks": 2}
WIDE = TWO | {"message_hidden": 4096}
ALONE: Case = (Layout(1, 1, False, False, False, False), False, {}, TWO)
CASES: dict[int, list[Case]] = {
    2: [
        (Layout(2, 1, False, False, False, False), False, {}, DENSE | TWO),
        (Layout(2, 2, True, True, True, True), True, {}, TWO),
        (Layout(2, 2, True, True, False, False), False, {}, WIDE),
    ],
    4: [
        (Layout(4, 2, True, True, True, True), False, {}, TWO),
        (Layout(4, 2, True, False, False, False), False, {"overlap": False}, TWO),
        (Layout(4, 4, False, True, False, False), False, {}, TWO | {"line_blocks": 0}),
        (Layout(4, 4, True, True, True, False), True, {"unit": 4, "compress_experts": "fp16"}, TWO),
    ],
}


@pytest.mark.parametrize("ranks", CASES)
def test_predicted_bytes_are_the_bytes_sent(ranks: int) -> None:
    measured = on_ranks(ranks, sent, CASES[ranks])
    kinds = set()
    for number, case in enumerate(CASES[ranks]):
        for place in range(ranks):
            found = predicted(case, place).traffic.bytes
            assert found == measured[place][number], (case, place)
            kinds |= {name.partition("/")[2] for name in found}
    assert {"parameters", "experts", "graphs", "gradients", "norm"} <= kinds
    assert ranks == 2 or "tokens" in kinds


class Counter(TorchDispatchMode):
    """torch's FlopCounterMode without its module hooks, which cannot follow a derivative by leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            formula = flop_registry[func._overloadpacket]
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def test_products_with_experts_count_what_they_multiply() -> None:
    x, h = torch.randn(5, 2, 3), torch.randn(5, 2, 2, 4)
    weights, experts = torch.randn(6, 3, 4), torch.randint(0, 6, (5, 2))
    loads = torch.bincount(experts.flatten(), minlength=6)
    calls = {
        expert_expand: (x, weights),
        expert_contract: (h, weights.transpose(1, 2)),
        expert_outer: (x, h),
    }
    for operator, factors in calls.items():
        arguments = (*factors, experts, loads)
        with FlopCounterMode(display=False) as inside:
            operator._init_fn(*arguments)
        assert products(operator._opoverload, arguments, {}, None) == inside.get_total_flops()


def test_one_rank_has_the_operations_and_the_memory_of_a_real_step() -> None:
    layout, divide, _, fields = ALONE
    config, found = config_of(ALONE), predicted(ALONE, 0)
    model = new_model(torch.float32, fields)
    janus = Janus(model, Mesh(), config.parallel)
    optimizer = build_optimizer(model, config.optimiser, 1.0)
    share = shares_of(store_of(fields), Mesh(), divide)(BATCH)
    with Counter() as counter:
        take_step(janus, optimizer, share, layout.applied(config), 1.0)
    assert sum(found.flops.values()) == counter.total
    assert all(found.flops[phase] > 0 for phase in ("energy", "forces", "backward_forces"))
    assert found.traffic.bytes == {}
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    state = sum(
        v.nbytes
        for s in optimizer.state.values()
        for v in s.values()
        if isinstance(v, torch.Tensor)
    )
    assert (found.memory.gradients, found.memory.optimiser) == (gradients, state)
    held = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    assert found.memory.parameters == held


def test_recomputing_keeps_less_and_computes_more() -> None:
    kept, again = (
        predicted(ALONE, 0),
        predicted((Layout(1, 1, False, False, True, False), *ALONE[1:]), 0),
    )
    assert again.memory.activations < 0.7 * kept.memory.activations
    assert sum(again.flops.values()) > 1.3 * sum(kept.flops.values())


def test_layouts_divide_the_ranks() -> None:
    found = list(layouts(4, 8, routed=True))
    assert {layout.unit for layout in found} == {1, 2, 4}
    assert len(found) == len(set(found)) == 2 + 2 * 9
    assert not any(layout.shard_experts for layout in layouts(4, 8, routed=False))


def test_a_unit_that_is_asked_for_may_be_larger_than_a_node(tmp_path: Path) -> None:
    found = []

    def first(layout: Layout) -> None:
        found.append(layout)
        raise InterruptedError

    machine = load_machine(Path("paper-gpus"))
    with pytest.raises(InterruptedError):
        plan(load_config(write_recipe(tmp_path)), machine, ranks=64, unit=16, progress=first)
    assert [layout.unit for layout in found] == [16]


RECIPES = {
    "as it comes": {},
    "compiled": {"train": {"compile": True}},
    "little memory": {"train": {"memory": 0}},
    "four units": {"parallel": {"replicate": 4}},
    "gathered again": {"parallel": {"unit": 2, "regather": True}},
    "divided and compressed": {
        "parallel": {"unit": 2, "shard_graphs": True, "compress_experts": "fp16"}
    },
}


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_set_is_what_was_rehearsed(name: str, tmp_path: Path) -> None:
    """On top of whatever the recipe says, and training accepts it."""
    recipe = tmp_path / "recipe.yaml"
    parts = RECIPES[name]
    train = {"steps": 1} | parts.get("train", {})
    content = {"data": {"sets": [{"path": "unused"}]}} | parts | {"train": train}
    recipe.write_text(yaml.safe_dump(content))
    config = load_config(recipe)
    for layout in layouts(4, 8, routed=True):
        settings = [f"{key}={json.dumps(value)}" for key, value in layout.settings(config).items()]
        found, rehearsed = load_config(recipe, settings), layout.applied(config)
        assert found.train == rehearsed.train
        assert found.parallel.replicate in ("auto", layout.ranks // layout.unit)
        alone = {"shard_parameters", "shard_experts"} if layout.unit == 1 else set()
        without = alone | {"replicate"}  # nothing is divided over one rank
        assert found.parallel.model_dump(exclude=without) == rehearsed.parallel.model_dump(
            exclude=without
        )


def test_more_ranks_than_cores_take_turns() -> None:
    machine = Machine(
        devices=8, memory=1.0, peak=0.1, achieved=0.5, traffic=10.0, overhead=10.0, ahead=False,
        cores=2, crowding=1.2, inside={"bandwidth": 1.0, "latency": 100.0},
    )  # fmt: skip
    assert [crowding(machine, ranks) for ranks in (1, 2, 4)] == pytest.approx([1.0, 1.2, 2.4])


@pytest.mark.parametrize("batch", [{"structures": 4}, {"structures": 4, "edges": 230}])
def test_each_rank_has_a_batch_also_where_frames_are_few(
    batch: dict[str, int], tmp_path: Path
) -> None:
    """A unit of eight takes its 32 structures from 22, so that layouts are compared at the same work."""
    recipe = write_recipe(tmp_path, batch=batch)
    write_frames(tmp_path / "data" / "22.extxyz", metals(22))
    settings = ["data.sets.0.path=22.extxyz", "data.valid_fraction=0"]
    config, data = read_data(load_config(recipe, settings), CPU)
    for unit in (1, 2, 4, 8):
        work = workload(config, data, unit)
        assert set(work.batch) <= set(range(22))
        _, edges, _ = data.train.costs[work.batch].sum(axis=0)
        full = len(work.batch) / (4 * unit), edges / (batch.get("edges", 1e9) * unit)
        assert 0.75 < max(full) <= 1.0, (unit, full)


@pytest.mark.parametrize("layout", [Layout(4, 1, *[False] * 4), Layout(4, 2, *[True] * 4)])
def test_the_busiest_rank_is_found_without_making_all_shares(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a plan for thousands of ranks would make and pad as many batches before it begins."""
    small, *others = metals(6)
    atoms = small.atoms * (2, 2, 1)
    large = replace(small, atoms=atoms, forces=np.tile(small.forces, (4, 1)))
    write_frames(tmp_path / "data" / "uneven.extxyz", [*others, large])
    recipe = write_recipe(tmp_path, batch={"structures": 6})
    settings = ["data.sets.0.path=uneven.extxyz", "data.valid_fraction=0"]
    work = workload(*read_data(load_config(recipe, settings), CPU))
    config = layout.applied(work.config)
    janus = Janus(MatRISMoE(resolve_model(config.model, [], [])), Mesh(), config.parallel)
    edges = []
    for place in range(4):
        share = work.share(imagined_mesh(layout, place, Traffic()), janus)
        edges.append(sum(table.numel() for table in share.batch.graphs.neighbours))
    monkeypatch.setattr(Shares, "__call__", Mock(side_effect=AssertionError("a share is made")))
    assert edges[busiest(work, layout)] == max(edges)


def test_a_unit_on_two_nodes_sends_over_what_connects_them() -> None:
    """Units of four divide a node of eight devices, those of three do not; six ranks are on one node anyway."""
    fast, slow = Link(bandwidth=100.0, latency=1.0), Link(bandwidth=1.0, latency=100.0)
    machine = Machine(
        nodes=3, devices=8, memory=64.0, peak=10.0, achieved=0.5, traffic=1000.0, overhead=1.0,
        inside=fast, between=slow,
    )  # fmt: skip
    small: Case = (Layout(6, 3, True, True, False, False), False, {}, TWO)
    three = predicted(small, 0)
    of_unit = {kind: found for kind, found in three.traffic.sums.items() if kind.group == "unit"}
    three = replace(three, traffic=Traffic(of_unit))

    def waiting(ranks: int, unit: int) -> float:
        layout = replace(small[0], ranks=ranks, unit=unit)
        return sum(time_of(machine, layout, [three], overlap=False).waiting.values())

    assert waiting(24, 3) > 50 * waiting(6, 3)
    assert waiting(24, 4) == pytest.approx(waiting(8, 4))
    assert waiting(24, 12) > 50 * waiting(24, 8)


def test_gradients_of_more_ranks_are_those_of_a_rehearsal_there() -> None:
    small: Case = (Layout(4, 2, True, True, False, False), False, {}, TWO)
    large: Case = (Layout(8, 2, True, True, False, False), False, {}, TWO)
    found, layout = moved(predicted(small, 0), small[0], 8)
    assert layout == large[0]
    expected = predicted(large, 0).traffic
    # What is sent inside a unit depends on the batch, which eight ranks divide otherwise.
    sums = found.traffic.sums
    for kind in (kind for kind in sums if kind.what == "gradients"):
        assert sums[kind].messages == expected.sums[kind].messages
        assert sums[kind].bytes == pytest.approx(expected.sums[kind].bytes, abs=100)
    assert time_of(load_machine(Path("8xh100")), layout, [found], overlap=True).total > 0


@pytest.mark.parametrize("name", ["laptop", "8xh100", "paper-gpus", "paper-cpus"])
def test_shipped_machines_are_read_and_written(name: str, tmp_path: Path) -> None:
    machine = load_machine(Path(name))
    write_machine(machine, tmp_path / "m.yaml")
    assert load_machine(tmp_path / "m.yaml") == machine


def test_the_paper_s_machines_have_the_paper_s_peak() -> None:
    gpus, cpus = load_machine(Path("paper-gpus")), load_machine(Path("paper-cpus"))
    assert gpus.ranks * gpus.peak * 0.355 / 1e6 == pytest.approx(1.0, rel=0.01)
    assert cpus.ranks * cpus.peak * 0.244 / 1e6 == pytest.approx(1.2, rel=0.01)


def test_wrong_machines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'laptop'"):
        load_machine(Path("labtop"))
    file = tmp_path / "m.yaml"
    file.write_text("devices: 0")
    with pytest.raises(UserError, match="'devices' is 0; give"):
        load_machine(file)
    nodes = load_machine(Path("paper-gpus")).model_copy(update={"between": None})
    with pytest.raises(UserError, match="no 'between'"):
        nodes.link(8)
