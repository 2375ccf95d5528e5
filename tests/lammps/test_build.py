"""Where the plugin is kept, and what is left when it cannot be built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from janus_md.errors import UserError
from janus_md.lammps import build_custom, environment
from janus_md.lammps.build import mpi_include
from janus_md.lammps.plugin_path import package_folder
from janus_md.lammps.run import command

FOLDER = (
    "import sys; from janus_md.lammps import plugin_folder; print(plugin_folder()); "
    "assert 'torch' not in sys.modules"
)


def folder_of_the_plugin(*first: Path) -> str:
    """As a new process finds it that looks for packages in ``first`` before anywhere else."""
    path = ":".join([*map(str, first), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", FOLDER],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_same_torch_in_another_place_gets_a_plugin_of_its_own(tmp_path: Path) -> None:
    """A plugin names the place of its torch: it does not load once the environment it was built in is gone."""
    for name in ("a", "b"):
        (tmp_path / name / "torch").mkdir(parents=True)
        (tmp_path / name / "torch" / "__init__.py").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    here = folder_of_the_plugin()
    a, b, link = (folder_of_the_plugin(tmp_path / name) for name in ("a", "b", "link"))
    assert len({here, a, b}) == 3
    assert link == a
    assert folder_of_the_plugin() == here


@pytest.mark.slow
def test_a_plugin_for_other_sizes_of_integers_is_refused(tmp_path: Path) -> None:
    """It ran, and named wrong atoms."""
    headers = package_folder("lammps") / "include" / "lammps"
    build_custom(headers, mpi_include(), tmp_path / "janusplugin.so", bigbig=True)
    (tmp_path / "in.lmp").write_text(
        "region all block 0 1 0 1 0 1\ncreate_box 1 all\npair_style janus\n"
    )
    done = subprocess.run(
        command(["-in", "in.lmp"]),
        cwd=tmp_path,
        env={**os.environ, **environment(tmp_path, base={})},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "IDs of 64 bits, and here they have 32: build it again without --bigbig" in done.stdout


def test_the_compilers_words_are_kept_beside_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a file of one name for all users, another user's could not be replaced."""
    monkeypatch.setenv("CXX", "/bin/false")
    headers = package_folder("lammps") / "include" / "lammps"
    log = tmp_path / "janusplugin.log"
    with pytest.raises(UserError, match=f"{log} holds all"):
        build_custom(headers, mpi_include(), tmp_path / "janusplugin.so")
    assert "/bin/false" in log.read_text()
