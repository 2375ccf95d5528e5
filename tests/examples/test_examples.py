"""Each example, made small, runs from start to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"

needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the data sets are not beside the checkout, in ../shared/data"
)
# Ended by steps: on a busy machine a run of seconds would end before it has learnt anything.
SMALL = (
    "model.preset=tiny data.valid_fraction=0.01 train.validate_every=1000 "
    "train.max_minutes=null train.steps=60"
)


def run(script: str, out: Path, **knobs: str) -> str:
    """Output of an example; the commands of this environment come first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [str(ROOT / "examples" / script), str(out)],
        env={**os.environ, "PATH": path, "DATA": str(DATA), "SETTINGS": SMALL, **knobs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_data
@pytest.mark.slow
def test_silicon_and_relaxing_a_pymatgen_structure(tmp_path: Path) -> None:
    out = tmp_path / "silicon"
    text = run("silicon/run.sh", out, MINUTES="0.2", CELLS="2", STEPS="20")
    assert "first peak of g(r)" in text
    assert (out / "rdf.png").stat().st_size > 0
    assert json.loads((out / "errors.json").read_text())[0]["frames"] == 25

    pytest.importorskip("pymatgen.core", reason="pymatgen is not installed")
    script = ROOT / "examples" / "relax_pymatgen" / "relax.py"
    relaxed = tmp_path / "relaxed.json"
    command = [sys.executable, str(script), str(out / "silicon.janus.pt"), str(relaxed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "eV/atom" in done.stdout
    assert len(json.loads(relaxed.read_text())["sites"]) == 2


@needs_data
@pytest.mark.slow
def test_multitask(tmp_path: Path) -> None:
    out = tmp_path / "multitask"
    text = run("multitask/run.sh", out, MINUTES="0.2")
    for task in ("hot-crystals", "mptrj", "alexandria", "3bpa", "ethanol"):
        assert task in text
    rows = json.loads((out / "ethanol.json").read_text())
    assert rows[0]["task"] == "ethanol"
