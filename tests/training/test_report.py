"""What the report says of a run: its errors, whose they are, and what it reads from the routers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.data import chemical_symbols

from janus_md.io import Frame
from janus_md.model import MatRISMoE, preset
from janus_training.evaluate import Result
from janus_training.progress import Progress
from janus_training.report import figures, write_report
from janus_training.report.sharing import Sharing, group_agreement, group_of

ELEMENTS = ["Li", "Na", "K", "O", "S", "Se", "F", "Cl", "Br", "Fe"]


def test_a_parity_plot_of_many_atoms_shows_all_components() -> None:
    """Of a force and of a stress; each component has a range of its own here."""
    forces, stress = np.tile(np.arange(3.0), (16, 1)), np.arange(9.0).reshape(3, 3)
    frame = Frame(Atoms("H16"), 0.0, forces, stress, task="a")
    result = Result(frame, 0.0, forces, stress)
    figure = figures.parity("a", [result] * (2 * figures.MOST_POINTS // 9 + 1))
    assert figure is not None
    for name, components in (("forces", 3), ("stress", 9)):
        (axis,) = (axis for axis in figure.axes if axis.get_title() == name)
        drawn = np.asarray(axis.lines[0].get_xdata())
        assert len(drawn) == figures.MOST_POINTS
        assert (np.bincount(drawn.astype(int)) > 0.8 * len(drawn) / components).all()


def run_folder(folder: Path, rows: list[dict[str, Any]], last: int, best: int) -> Path:
    """What a report reads of a run that has ended: metrics, configuration and which checkpoint is which."""
    (folder / "config.yaml").write_text("train: {}\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for link, step in (("last", last), ("best", best)):
        checkpoint = folder / "checkpoints" / f"step-{step:08d}"
        checkpoint.mkdir(parents=True, exist_ok=True)
        (checkpoint / "training.json").write_text(json.dumps(asdict(Progress(step=step))))
        (folder / "checkpoints" / link).symlink_to(checkpoint.name, target_is_directory=True)
    return folder


def valid_row(step: int, energy: float) -> dict[str, Any]:
    return {"kind": "valid", "step": step, "task": "a", "energy": energy, "forces": None}


@pytest.fixture
def model() -> MatRISMoE:
    return MatRISMoE(preset("tiny", elements=["H"], tasks=["a"]))


def test_the_table_has_the_labels_there_are(model: MatRISMoE, tmp_path: Path) -> None:
    """Magnetic moments, too."""
    run = run_folder(tmp_path, [valid_row(4, 0.1)], last=4, best=4)
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1]])
    frame = Frame(atoms, 1.0, np.zeros((2, 3)), None, np.array([-2.0, 1.0]), task="a")
    result = Result(frame, 1.0, np.zeros((2, 3)), None, np.array([2.0, 1.5]))
    page = write_report(run, model, [result]).read_text()
    assert "<td>250.00</td><td>353.55</td>" in page
    assert "magnetic moment MAE" in page and "stress MAE" not in page


@pytest.mark.parametrize("best", [4, 8])
def test_the_page_says_whose_errors_it_shows(model: MatRISMoE, tmp_path: Path, best: int) -> None:
    """A run that was better before: eval and export take those weights, so their errors are there, too."""
    rows = [valid_row(4, 0.13), valid_row(8, 0.486)]
    run = run_folder(tmp_path, rows, last=8, best=best)
    result = Result(Frame(Atoms("H"), -0.486, task="a"), 0.0, np.zeros((1, 3)), None)
    page = write_report(run, model, [result]).read_text()
    assert "of the averaged weights of step 8, <code>checkpoints/last</code>" in page
    assert page.count("<td>486.00</td>") == 2
    assert ("those of step 4, <code>checkpoints/best</code>" in page) == (best == 4)
    assert page.count("<td>130.00</td>") == (best == 4)


def of_blocks(rows: list[list[str]], elements: list[str]) -> Sharing:
    """Elements of a row share everything with each other and nothing with the rest."""
    family = np.array([next(i for i, row in enumerate(rows) if name in row) for name in elements])
    return Sharing(elements, (family[:, None] == family[None, :]).astype(float))


def test_groups_are_those_of_the_table() -> None:
    periodic = pytest.importorskip("pymatgen.core.periodic_table", reason="needs pymatgen")
    for symbol in chemical_symbols[1:]:
        assert group_of(symbol) == periodic.Element(symbol).group


def test_routing_by_group_agrees_and_routing_by_period_does_not() -> None:
    by_group = group_agreement(
        of_blocks([["Li", "Na", "K"], ["O", "S", "Se"], ["F", "Cl", "Br"], ["Fe"]], ELEMENTS)
    )
    by_period = group_agreement(
        of_blocks([["Li", "O", "F"], ["Na", "S", "Cl"], ["K", "Se", "Br", "Fe"]], ELEMENTS)
    )
    assert by_group is not None and by_period is not None
    assert by_group.same == 1.0 and by_period.same == 0.0
    assert by_group.same > by_group.random + 3 * by_group.spread
    assert by_period.same < by_period.random - by_period.spread


def test_random_groups_expect_the_mean_overlap() -> None:
    overlap = np.random.default_rng(1).random((10, 10))
    overlap = (overlap + overlap.T) / 2
    found = group_agreement(Sharing(ELEMENTS, overlap))
    assert found is not None
    mean = overlap[~np.eye(10, dtype=bool)].mean()
    assert abs(found.random - mean) < 4 * found.spread / 2000**0.5


def test_nothing_to_say_of_elements_that_are_alone_or_all_of_one_group() -> None:
    assert group_agreement(Sharing(["H", "C", "O"], np.ones((3, 3)))) is None
    assert group_agreement(Sharing(["Li", "Na"], np.ones((2, 2)))) is None
