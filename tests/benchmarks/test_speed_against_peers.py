"""The comparison of speeds: structures, matched widths, merging of results, the table, what the user gets wrong."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ase.neighborlist import neighbor_list

from janus_md.errors import UserError
from janus_md.model import preset

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "speed"
FACTS = {"active": 112000, "settings": {}, "versions": {}}
SETTINGS = {"blocks": 2, "width": 16}


@pytest.mark.parametrize("material", ["salt", "silicon", "olivine", "water"])
def test_structures_are_near_the_size_and_physical(script, material: str) -> None:
    structures = script("structures")
    for size in (64, 216):
        atoms = structures.SYSTEMS[f"{material}-{size}"]()
        assert 0.75 * size < len(atoms) < 1.3 * size
        assert len(neighbor_list("i", atoms, 0.5)) == 0
    if material == "olivine":
        counts = [(atoms.symbols == symbol).sum() for symbol in ("Li", "Fe", "P", "O")]
        assert counts[3] == 4 * counts[0] and counts[0] == counts[1] == counts[2]


@pytest.mark.parametrize("wanted", [103_480, 406_479, 6_274_832])
def test_a_matched_model_has_the_parameters_it_says(script, wanted: int) -> None:
    matched = script("matched")
    config = matched.matched_config(wanted, ["Na", "Cl"])
    assert config.num_message_experts == config.num_feature_experts == 0
    assert config.elements == ["Na", "Cl"]
    assert matched.active_parameters(config) == pytest.approx(wanted, rel=0.01)


def test_a_shallow_model_has_one_block_and_the_parameters_it_says(script) -> None:
    matched = script("matched")
    config = matched.shallow_config(507_000, 6.0, ["Si"])
    assert (config.blocks, config.cutoff) == (1, 6.0)
    assert matched.active_parameters(config) == pytest.approx(507_000, rel=0.01)


def test_unused_experts_are_not_active(script) -> None:
    active = script("matched").active_parameters
    few, many = (
        preset("tiny", elements=["H", "O"], num_message_experts=count, num_feature_experts=count)
        for count in (4, 9)
    )
    assert active(few) == active(many) == active(preset("tiny", elements=["H"]))


def row(method: str, size: int, work: str, **figures) -> dict:
    return {"method": method, "system": f"salt-{size}", "work": work, "threads": 1, **figures}


def test_rows_are_merged_and_tabled(script, tmp_path: Path) -> None:
    module, path = script("figures"), tmp_path / "speed.json"
    first = module.Figures(path)
    first.describe("small", FACTS)
    first.add(row("small", 216, "evaluate", failed="> 120 s"))
    second = module.Figures(path)
    second.add(row("small", 64, "evaluate", cpu_s=9.0, above_imports_mb=1))
    second.add(row("small", 64, "evaluate", cpu_s=0.1234, above_imports_mb=97))
    found = module.Figures(path)
    assert len(found.rows) == 2
    assert found.find("small", "salt-64", "evaluate")["cpu_s"] == 0.1234
    found.add(row("small", 64, "train", cpu_s=1.0, above_imports_mb=2))
    few, many, training = module.tables(found).split("\n\n")
    assert few.endswith("| `small` | 112,000 | 0.123 / 97 |")
    assert many.startswith(
        "| Energy and forces, 216 atoms: s / MB | active parameters | rock salt |"
    )
    assert many.endswith("| `small` | 112,000 | > 120 s |")
    assert training.startswith("| Training step, 64 atoms")


def test_the_published_tables_are_those_of_the_results(script) -> None:
    module = script("figures")
    readme = (SCRIPTS.parent / "README.md").read_text(encoding="utf-8")
    file = SCRIPTS.parent / "results" / "speed_peers.json"
    for text in module.tables(module.Figures(file)).split("\n\n"):
        assert text.strip() in readme


def measured(script, replies: list, sizes=(64,), method: str = "mace-64x0e") -> tuple:
    """Figures and calls of a measurement in which the processes answer ``replies`` in turn."""
    module, calls = script("against_peers"), []
    figures = script("figures").Figures()
    plan = module.Plan([method], [], peers={"mace": "python"})

    def attempt(python: str, path: Path, threads: int, *words: object) -> tuple:
        calls.append((path.name, *words[:3]))
        return replies.pop(0)

    for size in sizes:
        module.measure(plan, figures, method, f"salt-{size}", attempt)
        module.measure(plan, figures, method, f"salt-{size}", attempt)
    return figures, calls


def test_what_is_beyond_a_limit_is_recorded_and_not_tried_larger(script) -> None:
    done = {"work": "evaluate", "cpu_s": 1.0, "above_imports_mb": 1}
    replies = [([FACTS], ""), ([done], "time"), ([], "memory")]
    figures, calls = measured(script, replies, sizes=(64, 216, 512))
    told = {(one["system"], one["work"]): one.get("failed") for one in figures.rows}
    assert told == {
        ("salt-64", "evaluate"): None,
        ("salt-64", "train"): "> 120 s",
        ("salt-216", "evaluate"): "> 16 GB",
        ("salt-216", "train"): "not tried: salt-64 > 120 s",
        ("salt-512", "evaluate"): "not tried: salt-216 > 16 GB",
        ("salt-512", "train"): "not tried: salt-64 > 120 s",
    }
    assert [call[2:] for call in calls] == [
        ("salt-64", "count"), ("salt-64", "evaluate,train"), ("salt-216", "evaluate"),
    ]  # fmt: skip


def test_a_matched_model_is_made_from_its_peers_count(script) -> None:
    replies = [
        ([FACTS], ""),
        ([FACTS | {"active": 111900, "settings": SETTINGS}], ""),
        ([], "broken"),
    ]
    figures, calls = measured(script, replies, method="matched-mace-64x0e")
    assert calls[0][:2] == ("run_mace.py", "mace-64x0e")
    assert ("run_janus.py", "dense-112000", "salt-64", "count") in calls
    assert json.loads(calls[-1][1]) == SETTINGS
    failed = [one["failed"] for one in figures.rows]
    assert failed == ["failed: broken", "not tried: evaluate failed: broken"]


def test_the_process_tells_its_figures_and_why_it_ended(script, tmp_path: Path) -> None:
    attempted = script("measure").attempted
    path = tmp_path / "one.py"
    path.write_text("print('words'); print('{\"work\": 1}', flush=True); bytearray(10**15)")
    assert attempted(sys.executable, path, 1) == ([{"work": 1}], "memory")
    path.write_text("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)")
    assert attempted(sys.executable, path, 1) == ([], "time")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "mace-64"], "did you mean 'mace-64x0e'"),
        (["--only", "matched-nequip"], "needs --peer nequip=PYTHON"),
        (["--peer", "mace=/nowhere/python"], "there is no interpreter"),
        (["--peer", "mac=python"], "peer 'mac' is unknown"),
        (["--limit-s", "0"], "--limit-s must be positive"),
    ],
)
def test_mistakes_are_told_in_a_sentence(script, words: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        script("against_peers").read_plan(words)


def test_shortened_options_are_refused(script, capsys: pytest.CaptureFixture[str]) -> None:
    """``compare.py --case si`` had begun a training of ten minutes."""
    with pytest.raises(SystemExit, match="2"):
        script("against_peers").read_plan(["--repeat", "3"])
    assert "unrecognized arguments: --repeat" in capsys.readouterr().err


def test_without_peers_ours_alone_are_measured(script) -> None:
    module = script("against_peers")
    assert module.read_plan([]).methods == ["small", "fast", "10m"]
    plan = module.read_plan(["--peer", f"matris={sys.executable}"])
    assert plan.methods == ["small", "fast", "10m", "matris", "matched-matris", "matris-recompute"]


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("against_peers", ["--repeats", "0"], "against_peers.py: --repeats must be positive"),
        ("forms", ["--threads", "0"], "forms.py: --threads must be positive"),
        ("forms", ["--device", "cuda:99"], "forms.py: device 'cuda:99' is not available here"),
        ("forms", ["-o", "/dev/null/forms.json"], "forms.py: the folder /dev/null cannot be writ"),
        ("forms", ["-o", str(SCRIPTS)], "forms.py: -o .* is a folder; give a file in it"),
        ("against_peers", ["-o", str(SCRIPTS)], "against_peers.py: -o .* is a folder"),
        ("against_peers", ["-o", __file__], "against_peers.py: .* is damaged or no file of this"),
        ("against_peers", ["-o", "/dev/null/rows.json"], "the folder /dev/null cannot be written"),
        ("peak", ["--tflops", "-1"], "peak.py: --tflops must be positive"),
        ("peak", ["--atoms", "0"], "peak.py: --atoms must be positive"),
        ("peak", ["--copies", "1", "0"], "peak.py: --copies must be positive"),
        ("peak", ["--device", "gpu"], "peak.py: device 'gpu' is unknown"),
        ("peak", ["--machine", "nowhere"], "peak.py: .*nowhere"),
        ("run_form", [], "is started by forms.py"),
        ("run_janus", [], "is started by against_peers.py"),
    ],
)
def test_scripts_end_with_a_sentence(name: str, words: list[str], sentence: str) -> None:
    """``peak.py --copies 0`` once ended well, with no atoms."""
    done = subprocess.run(
        [sys.executable, SCRIPTS / f"{name}.py", *words], capture_output=True, text=True
    )
    assert done.returncode == 1 and re.search(sentence, done.stderr)
    assert "Traceback" not in done.stderr
