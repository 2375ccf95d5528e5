"""The wheel holds what a user needs after `pip install`, and nothing that is not theirs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel; install the extra 'dev'")
    from hatchling.builders.wheel import WheelBuilder

    target = tmp_path_factory.mktemp("wheel")
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(target), versions=["standard"]))
    return zipfile.ZipFile(wheel).namelist()


def test_both_packages_the_recipes_and_the_plugin_sources(names: list[str]) -> None:
    assert "janus_md/__init__.py" in names
    assert "janus_md/py.typed" in names
    assert "janus_training/__init__.py" in names
    assert "janus_training/recipes/silicon.yaml" in names
    assert "janus_training/planner/machines/laptop.yaml" in names
    assert "janus_md/lammps/plugin_source/CMakeLists.txt" in names
    assert any(name.startswith("janus_md/lammps/plugin_source/src/") for name in names)


def test_no_strangers(names: list[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"janus_md", "janus_training"}
    assert not [name for name in names if name.endswith((".pyc", ".so", ".o", ".pt"))]


def test_entry_points(names: list[str], tmp_path: Path) -> None:
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="janus-md")
    assert script.value == "janus_md.cli.main:main"
    (plugin,) = entry_points(group="lammps.plugins", name="janus-md")
    assert plugin.value == "janus_md.lammps.plugin_path:plugin_path"
