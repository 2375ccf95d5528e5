"""The share of a device's peak: the operations counted, and what a row says."""

from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from janus_training.planner.flops import products

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "speed"
CPU = torch.device("cpu")


@pytest.fixture
def step(script):
    step = script("peak").Step("tiny", "plain", 5, CPU)
    step.take(8, 2)
    return step


class Counter(TorchDispatchMode):
    """Operations of the products of tensors with data."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.total += products(func, args, kwargs or {}, result) or 0
        return result


def test_operations_are_those_of_a_real_step(step) -> None:
    with Counter() as counter:
        step()
    assert sum(step.rehearsal.flops.values()) == pytest.approx(counter.total, rel=1e-9)


def test_a_row_adds_up(step) -> None:
    row = step.figures(repeats=2, peak=1.0)
    assert (row["structures"], row["atoms"]) == (2, 16)
    assert row["share"] == pytest.approx(row["tflop"] / row["step_s"])
    assert sum(row["tflop_by_phase"].values()) == pytest.approx(row["tflop"])
    assert all(seconds > 0.0 for seconds in row["seconds_by_phase"].values())
    assert 0.0 < row["share"] < 1.0


def test_a_profile_names_the_largest_operators_first(step, tmp_path) -> None:
    found = step.profile(tmp_path)
    shares = [row["share"] for row in found["profile"]]
    assert shares == sorted(shares, reverse=True) and 0.0 < sum(shares) <= 1.0
    assert (tmp_path / "tiny-plain-2.json.gz").stat().st_size > 0


def test_a_compiled_step_takes_all_atoms_in_one_table(script) -> None:
    """A model with line attention came in several tables, which a compiled step cannot take."""
    peak = script("peak")
    config = peak.configuration({"preset": "tiny"}, ["H", "O"], compiled=True)
    assert len(peak.crystals(config, ["H", "O"], 64, 2, CPU).batch(range(2)).graphs.neighbours) == 1
