"""Public data sets: which frames become which file, labels kept, nothing of the user's replaced."""

import json
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from training_support import metals

from janus_md.io import read_frames, write_frames

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def clones(tmp_path: Path) -> Path:
    """Checkouts as the script wants them, every file with thirty frames but the JSON ones with two."""
    folder = tmp_path / "clones"
    files = {
        "BOTNet-datasets": (
            "dataset_3BPA/train_300K", "dataset_3BPA/iso_atoms", "dataset_ethanol/train",
            "dataset_ethanol/test_MD", "dataset_ethanol/isolated_atoms",
        ),
        "mattersim": (
            "data/benchmarks/mpf-TP", "data/benchmarks/mptrj-random-1k",
            "data/benchmarks/alexandria-random-1k",
        ),
    }  # fmt: skip
    for repository, names in files.items():
        for name in names:
            write_frames(folder / repository / f"{name}.xyz", metals(30))
    site = {"species": [{"element": "Si", "occu": 1}], "xyz": [0.0, 0.5, 1.0]}
    entry = {
        "structure": {"lattice": {"matrix": np.eye(3).tolist()}, "sites": [site]},
        "outputs": {"energy": -5.5, "forces": [[0.1, 0.2, 0.3]]},
    }
    for element in ("Si", "Li", "Mo"):
        for part in ("training", "test"):
            file = folder / "mlearn" / "data" / element / f"{part}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps([entry, entry]))
    return folder


def run(script, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["public_data.py", *map(str, words)])
    script("public_data").main()


def test_every_file_is_made_of_its_frames(
    script, monkeypatch, clones: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    run(script, monkeypatch, "--clones", clones, "-o", data)
    energies = [frame.energy for frame in metals(30)]
    found = {
        name: [frame.energy for frame in read_frames(data / f"{name}.extxyz")]
        for name in script("public_data").FILES
    }
    assert found["molecules/3bpa-test"] == pytest.approx(energies[4::5])
    assert sorted(found["molecules/3bpa-test"] + found["molecules/3bpa-train"]) == pytest.approx(
        sorted(energies)
    )
    assert found["molecules/ethanol-test"] == pytest.approx(energies[::4])
    assert found["hot-crystals-1k"] == pytest.approx(energies)
    silicon = read_frames(data / "mlearn" / "Si-train.extxyz")[0]
    assert silicon.energy == -5.5 and silicon.atoms.pbc.all()
    np.testing.assert_allclose(silicon.forces, [[0.1, 0.2, 0.3]])
    np.testing.assert_allclose(silicon.atoms.positions, [[0.0, 0.5, 1.0]])


def test_what_is_there_stays(script, monkeypatch, clones: Path, tmp_path: Path, capsys) -> None:
    mine = tmp_path / "data" / "hot-crystals-1k.extxyz"
    mine.parent.mkdir()
    mine.write_text("mine")
    run(script, monkeypatch, "--clones", clones, "-o", mine.parent)
    assert mine.read_text() == "mine" and f"{mine} is there already" in capsys.readouterr().out


def test_a_missing_checkout_is_one_sentence(script, monkeypatch, clones: Path, tmp_path) -> None:
    (clones / "mattersim").rename(tmp_path / "elsewhere")
    with pytest.raises(
        SystemExit, match=r"mpf-TP.xyz does not exist; --clones wants a checkout of"
    ):
        run(script, monkeypatch, "--clones", clones, "-o", tmp_path / "data")


def test_no_network_is_one_sentence(script, monkeypatch, tmp_path: Path) -> None:
    def refused(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(script("public_data").urllib.request, "urlopen", refused)
    with pytest.raises(
        SystemExit, match=r"cannot be fetched .*no route.*; clone \S+ and give --clones"
    ):
        run(script, monkeypatch, "-o", tmp_path / "data")
