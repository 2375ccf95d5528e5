"""The comparison of dense and routed models: equal active parameters, one row a model, nothing run twice."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from training_support import metals

from janus_md.export.write import active_parameters
from janus_md.io import write_frames
from janus_md.model import MatRISMoE
from janus_training.model_section import resolve_model

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "accuracy"


@pytest.mark.parametrize(
    ("file", "alike"), [("experts.yaml", "width"), ("parts.yaml", "num_line_blocks")]
)
def test_models_that_are_compared_have_as_many_active_parameters(file: str, alike: str) -> None:
    plan = yaml.safe_load((SCRIPTS / file).read_text())
    found: dict[int, set[int]] = {}
    for own in plan["models"].values():
        config = resolve_model(
            {**plan["model"], **own.get("model", {}), "elements": ["H", "O", "Si"]}, [], []
        )
        counts = found.setdefault(getattr(config, alike), set())
        counts.add(active_parameters(MatRISMoE(config)))
    assert len(found) == 2 and all(len(counts) == 1 for counts in found.values())


def test_models_are_trained_once_and_tabled(
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, runs = tmp_path / "data", tmp_path / "runs"
    write_frames(data / "hot-crystals-1k.extxyz", metals(30, seed=2))
    write_frames(data / "mptrj-1k.extxyz", metals(30, seed=3))
    plan = yaml.safe_load((SCRIPTS / "experts.yaml").read_text())
    plan["train"]["steps"] = 3
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(plan))
    words = ["--only", "dense-16", "routed-16", "--minutes", "5", "--seeds", "0"]
    words += ["--models", str(tmp_path / "short.yaml"), "--data", str(data), "-o", str(runs)]
    monkeypatch.setattr(sys, "argv", ["experts.py", *words])
    module = script("experts")
    module.main()
    shown = capsys.readouterr().out
    dense, routed = json.loads((runs / "experts.json").read_text())
    assert dense["active_parameters"] == routed["active_parameters"] < routed["parameters"]
    assert dense["steps"] == 3 and set(dense["valid"]) == {"hot-crystals", "mptrj", "both"}
    row = next(line for line in shown.splitlines() if line.startswith("| routed-16 |"))
    assert f"| {routed['valid']['hot-crystals']['forces']:.0f} |" in row
    monkeypatch.setattr(module, "train", lambda *_: pytest.fail("what is there was run again"))
    module.main()
    assert capsys.readouterr().out.endswith(shown[shown.index("| model |") :])


def test_a_model_changes_what_it_names_of_the_recipe(script, tmp_path: Path) -> None:
    """Sections that the others do not have among them: a mistake in one must not be passed over."""
    for name in ("hot-crystals-1k", "mptrj-1k"):
        write_frames(tmp_path / f"{name}.extxyz", metals(30))
    plan = {"model": {"preset": "lean"}, "batch": {"structures": 8, "edges": 9}}
    own = {"batch": {"structures": 4}, "ema": {"decay": 0.0}}
    found = script("experts").recipe(plan, own, tmp_path, tmp_path / "runs")
    assert found["model"] == {"preset": "lean"}
    assert found["batch"] == {"structures": 4, "edges": 9} and found["ema"] == {"decay": 0.0}


def test_errors_of_both_sets_are_over_all_their_frames(script, tmp_path: Path) -> None:
    write_frames(tmp_path / "hot-crystals" / "valid.extxyz", metals(3))
    write_frames(tmp_path / "mptrj" / "valid.extxyz", metals(5, seed=1))
    sizes = [sum(len(frame.atoms) for frame in metals(n, seed=s)) for n, s in ((3, 0), (5, 1))]
    valid = {
        "hot-crystals": {"forces": 0.2, "energy": 0.03},
        "mptrj": {"forces": 0.1, "energy": 0.01},
    }
    both = script("experts").valid_errors(valid, tmp_path)["both"]
    forces = (200 * sizes[0] + 100 * sizes[1]) / sum(sizes)
    assert both == pytest.approx({"forces": forces, "energy": (30 * 3 + 10 * 5) / 8})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "routed-61"], r"model 'routed-61' is not in experts\.yaml \(did you mean"),
        (
            ["--models", "expert"],
            r"file of models expert does not exist \(did you mean 'experts'\?\)",
        ),
        (["--minutes", "0"], "--minutes must be positive"),
        (["--seeds", "-1"], "--seeds must not be negative"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    script, tmp_path: Path, monkeypatch, words: list[str], sentence: str
) -> None:
    given = ["experts.py", *words, "--data", str(tmp_path), "-o", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit, match=sentence):
        script("experts").main()
    assert not (tmp_path / "runs").exists()


def test_a_training_that_ends_early_is_told_in_a_sentence(
    script, tmp_path: Path, monkeypatch
) -> None:
    data, runs = tmp_path / "data", tmp_path / "runs"
    write_frames(data / "hot-crystals-1k.extxyz", metals(30, seed=2))
    write_frames(data / "mptrj-1k.extxyz", metals(30, seed=3))
    words = ["--only", "dense-16", "--minutes", "0.0001", "--data", str(data), "-o", str(runs)]
    monkeypatch.setattr(sys, "argv", ["experts.py", *words])
    with pytest.raises(SystemExit, match="ended early; what it says is above"):
        script("experts").main()
    assert not (runs / "experts.json").exists()
