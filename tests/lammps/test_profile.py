"""`profile yes`: a table of where the time of a step went."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from lammps_support.runs import completed, janus_pair, setup
from lammps_support.scenarios import NVE
from lammps_support.structures import crystal

PARTS = ["edges", "line graph", "forward", "exchange", "backward", "scatter"]


@pytest.mark.parametrize("style", ["", "chunk 5"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_table(ranks: int, style: str, models: Path, tmp_path: Path) -> None:
    pair = janus_pair(models / "double.janus.pt", ["O", "Si"], f"profile yes {style}")
    log = completed([*setup(crystal(), tmp_path, pair), *NVE, "run 3", "run 5"], tmp_path, ranks)
    tables = log.split("Janus-MD, milliseconds per step over ")[1:]
    # The set-up of a run is a step, too.
    assert [int(table.split()[0]) for table in tables] == [4, 6]
    rows = re.findall(
        r"^([a-z ]+?) +\| +([\d.]+) \| +([\d.]+) \| +([\d.]+) \| +([\d.]+)$", tables[1], re.M
    )
    assert [row[0] for row in rows] == PARTS
    numbers = {row[0]: [float(word) for word in row[1:]] for row in rows}
    assert all(least <= mean <= most for least, mean, most, _ in numbers.values())
    assert sum(row[-1] for row in numbers.values()) == pytest.approx(100.0, abs=0.1)
    assert numbers["backward"][1] > numbers["scatter"][1]
    sent = float(re.search(r"bytes sent \| +(\d+)", tables[1])[1])
    assert sent > 0


def test_none_unless_asked(models: Path, tmp_path: Path) -> None:
    pair = janus_pair(models / "double.janus.pt", ["O", "Si"])
    assert "milliseconds per step" not in completed(
        [*setup(crystal(), tmp_path, pair), "run 0"], tmp_path
    )
