"""`relax` and `md`: structures in, structures and trajectories out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from cli_support import call, refused


def test_json_that_is_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.json").write_text('{"sites": [')
    arguments = ["-m", folder / "m.janus.pt", "-o", tmp_path / "o.cif"]
    error = refused(capsys, "relax", tmp_path / "cut.json", *arguments)
    assert "cut.json is not valid JSON at line 1, column 12: mend it there" in error


def test_structures_no_potential_can_take(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = folder / "m.janus.pt", tmp_path / "out.extxyz"
    cases = {
        "gold.extxyz": (bulk("Au"), "knows no Au"),
        "twice.extxyz": (Atoms("Si2", [[0, 0, 0], [0, 0, 0]]), "on top of each other"),
    }
    for name, (atoms, words) in cases.items():
        write(tmp_path / name, atoms)
        assert words in refused(capsys, "relax", tmp_path / name, "-m", model, "-o", out)
        assert not out.exists()
    write(tmp_path / "cluster.xyz", Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]]))
    arguments = ["relax", tmp_path / "cluster.xyz", "-m", model, "-o", out, "--cell"]
    assert "three periodic directions" in refused(capsys, *arguments)


def test_relax_reads_and_writes_what_ase_and_pymatgen_know(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core = pytest.importorskip("pymatgen.core")
    structure = core.Structure.from_file(str(folder / "si.cif"))
    (tmp_path / "in.json").write_text(json.dumps(structure.as_dict()))
    common = ["-m", folder / "m.janus.pt", "--steps", "3", "--fmax", "100", "--cell"]
    for source, target in (("in.json", "POSCAR"), ("POSCAR", "out.json"), ("out.json", "o.extxyz")):
        code, out, error = call(
            capsys, "relax", tmp_path / source, "-o", tmp_path / target, *common
        )
        assert code == 0, error
        assert "energy" in out
    assert core.Structure.from_dict(json.loads((tmp_path / "out.json").read_text())).is_ordered
    assert len(read(tmp_path / "o.extxyz")) == 8


def test_a_relaxation_cut_short_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["relax", folder / "si.cif", "-m", folder / "m.janus.pt", "--fmax", "1e-6"]
    for cell in ([], ["--cell"]):
        output = tmp_path / f"o{len(cell)}.cif"
        code, out, error = call(capsys, *arguments, "-o", output, "--steps", "2", *cell)
        assert code == 1, error
        assert "NOT converged in 2 steps" in out
        assert len(read(output)) == 8
        assert ("largest stress" in out) == bool(cell)


@pytest.mark.parametrize(
    ("structure", "options", "words"),
    [
        ("si.cif", ["--temperature", "0"], "cannot hold 0 K: give a --temperature above 0"),
        ("si.cif", ["--temperature", "0", "--ensemble", "npt"], "or --ensemble nve"),
        ("one.cif", ["--ensemble", "nve"], "Si has no degree of freedom but its drift"),
        ("fixed.vasp", ["--ensemble", "npt"], "NPT of Si8 cannot keep atoms fixed"),
    ],
)
def test_md_that_cannot_be(
    structure: str,
    options: list[str],
    words: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "t.traj"
    arguments = [folder / structure, "-m", folder / "m.janus.pt", "-o", output, *options]
    assert words in refused(capsys, "md", *arguments)
    assert not output.exists()


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_md_writes_frames_and_repeats_itself(
    ensemble: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finals = []
    for name in ("a.extxyz", "b.traj"):
        code, _, error = call(
            capsys, "md", folder / "si.cif", "-m", folder / "m.janus.pt", "-o", tmp_path / name,
            "--steps", "25", "--every", "10", "--ensemble", ensemble, "--seed", "3",
        )  # fmt: skip
        assert code == 0, error
        frames = read(tmp_path / name, ":")
        assert len(frames) == 4
        assert frames[-1].get_potential_energy() != frames[0].get_potential_energy()
        finals.append(frames[-1].positions)
    assert finals[0] == pytest.approx(finals[1], abs=1e-6)


@pytest.mark.parametrize("command", ["relax", "md"])
def test_charge_and_spin_of_a_format_that_has_no_place_for_them(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from janus_md.export import export_model
    from janus_md.model import MatRISMoE, preset

    model, source = tmp_path / "m.janus.pt", tmp_path / "POSCAR"
    export_model(MatRISMoE(preset("tiny", elements=["Si"], charge=True, spin=True)), model)
    write(source, bulk("Si", cubic=True))
    energies = []
    for charge in ("0", "2"):
        output = tmp_path / f"{charge}.extxyz"
        arguments = ["-m", model, "-o", output, "--steps", "0", "--charge", charge, "--spin", "1"]
        assert call(capsys, command, source, *arguments)[0] in (0, 1)
        energies.append(read(output).get_potential_energy())
    assert abs(energies[1] - energies[0]) > 1e-4
