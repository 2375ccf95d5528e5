"""Where the plugin is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
