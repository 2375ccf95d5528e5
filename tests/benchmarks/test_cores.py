"""Threads beside ranks: the steps that count, and what a row is relative to."""

from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "parallel"


def test_only_steps_after_the_first_count(script) -> None:
    module = script("cores")
    slow = [{"kind": "train", "minutes": 10.0 * n} for n in range(module.WARM)]
    begin = slow[-1]["minutes"] + 10.0
    even = [{"kind": "train", "minutes": begin + n / 120.0} for n in range(30)]
    rows = [{"kind": "valid", "minutes": 0.0}, *slow, *even, {"kind": "valid", "minutes": 1e3}]
    assert module.pace(rows) == pytest.approx(0.5)


def test_ways_are_relative_to_one_thread(script) -> None:
    found = script("cores").summary({"1 thread": [3.0, 2.0, 9.0], "2 ranks": [2.0, 1.0, 2.5]})
    assert found["1 thread"]["speed_up"] == 1.0
    assert found["2 ranks"]["step_s"] == 2.0 and found["2 ranks"]["speed_up"] == 1.5
