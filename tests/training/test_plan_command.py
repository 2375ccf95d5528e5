"""`janus-md plan` as a user meets it."""

import json
import sys
from pathlib import Path

import pytest

from janus_md.cli.main import main
from janus_training.planner.measure import fitted
from janus_training.planner.memory import Memory
from janus_training.planner.rehearsal import Rehearsal
from janus_training.planner.traffic import Traffic


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["janus-md", "plan", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_a_plan_as_table_and_as_json(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (recipe, "-m", "laptop", "--ranks", "2", "--unit", "1")
    code, table, _ = call(monkeypatch, capsys, *asked)
    assert code == 0
    assert "2 × 1" in table
    assert "--set parallel.unit=1" in table
    code, text, _ = call(monkeypatch, capsys, *asked, "--json", "--batch-per-rank", "--every-rank")
    found = json.loads(text)
    assert code == 0
    chosen = {"parallel.unit": 1, "parallel.recompute": False, "parallel.regather": False}
    assert found["chosen"] == chosen
    kept, again = sorted(found["layouts"], key=lambda row: row["layout"]["recompute"])
    assert kept["structures"] == again["structures"] == 6
    assert kept["step"] < again["step"]
    assert kept["memory"]["activations"] > again["memory"]["activations"]
    assert set(kept["bytes"]) == {"backward_energy/gradients"}
    assert sum(kept["computing"].values()) + sum(kept["waiting"].values()) == kept["step"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "labtop"], "did you mean 'laptop'"),
        (["--ranks", "9"], "do not fit the 4 devices"),
        (["--ranks", "4", "--unit", "3"], "cannot be divided into units of 3"),
        (["--measure"], "nowhere to write to"),
    ],
)
def test_what_is_asked_wrongly(
    arguments: list[str], said: str, recipe: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    code, _, error = call(monkeypatch, capsys, recipe, *arguments)
    assert code == 2
    assert said in error
    assert error.count("\n") == 1


def test_rates_are_found_again() -> None:
    nothing = Memory(0, 0, 0, 0, 0, 0)
    amounts = [(1e9, 1e8, 1e3), (1e10, 3e9, 1e3), (3e9, 5e9, 4e3), (1e8, 1e8, 5e3)]
    steps = [
        Rehearsal({"a": f}, {"a": t}, {"a": c}, Traffic(), nothing, 0, 0.0) for f, t, c in amounts
    ]
    seconds = [f / 2e11 + t / 1e10 + c * 1e-5 for f, t, c in amounts]
    found = fitted(steps, seconds)
    assert (found.products, found.traffic, found.overhead) == pytest.approx((2e11, 1e10, 1e-5))
