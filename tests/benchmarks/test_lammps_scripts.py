"""Measurements of LAMMPS: what building the plugin takes does not count; what the user gets wrong beside peers."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from janus_md.errors import UserError

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "lammps"
LARGE = 256 * 1024**2
"""Bytes."""


def test_memory_of_earlier_children_does_not_count(script) -> None:
    """A compiler is a child of a child."""
    memory = script("memory")
    large = f"bytearray({LARGE}).count(1)"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {large!r}], check=True)"
    )
    subprocess.run([sys.executable, "-c", parent], check=True)
    assert memory.peak_of_children() > LARGE
    assert memory.alone(memory.peak_of_children) == 0


def test_the_plugin_is_built_before_processor_seconds_count(script, tmp_path, monkeypatch) -> None:
    ranks, calls = script("ranks"), []

    def noted(name: str, result: object):
        return lambda *words, **options: calls.append(name) or result

    done = SimpleNamespace(returncode=0, stdout="", stderr="")
    monkeypatch.setattr(ranks, "build_plugin", noted("build", None))
    monkeypatch.setattr(ranks, "processor_seconds", noted("count", 0.0))
    monkeypatch.setattr(ranks, "run", noted("run", done))
    monkeypatch.setattr(ranks, "input_lines", lambda *words, **options: [])
    ranks.run_steps(None, tmp_path, tmp_path / "model.janus.pt", 1, 0)
    assert calls == ["build", "count", "run", "count"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "smal"], r"method 'smal' is unknown \(did you mean 'small'"),
        (["--only", "shallow-5-deepmd-compressed"], "is unknown"),
        (["--only", "small", "matched-deepmd"], "matched-deepmd needs --peer deepmd=PYTHON"),
        (["--peer", "mace"], "--peer mace: there is no interpreter ''"),
        (["--peer", "mac=python"], r"peer 'mac' is unknown \(did you mean 'mace'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(script, words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        script("peers").read_options(words)


def test_methods_are_ours_and_those_of_the_peers_that_are_there(script) -> None:
    peers = script("peers")
    assert peers.read_options([]).methods == ["small", "fast"]
    deepmd = ["--peer", f"deepmd={sys.executable}"]
    assert peers.read_options(deepmd).methods == [
        "small", "fast", "deepmd", "matched-deepmd", "shallow-5-deepmd", "shallow-6-deepmd",
        "deepmd-compressed",
    ]  # fmt: skip
    assert peers.read_options([*deepmd, "--only", "deepmd", "fast"]).methods == ["fast", "deepmd"]
