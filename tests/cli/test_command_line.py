"""The command line as a user meets it: help, errors in one sentence, exit codes, no overwriting."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from ase.build import bulk
from cli_support import call, refused

from janus_md.cli.lists import spell_out


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "janus_md.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_answers_at_once_without_torch() -> None:
    code = (
        "import sys, janus_md.cli.main as m\n"
        "sys.argv = ['janus-md', '--help']\n"
        "try: m.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'ase', 'numpy', 'pydantic'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("train", "eval", "export", "info", "init", "relax", "md", "lammps", "data"):
        assert name in done.stdout


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, janus_md; assert 'torch' not in sys.modules; janus_md.JanusCalculator"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "r.yaml", "-o", "run"], "r.yaml: unknown key 'model.cutof'"),
        (["train", "missing.yaml", "-o", "run"], "missing.yaml does not exist"),
        (["train", "r.yaml", "-o", "run", "--set", "data.root=X", "=3"], "--set =3 has no key"),
        (["train", "r.yaml", "--set", "train.steps", "5", "-o", "run"], "--set train.steps has no"),
        (["train", "r.yaml", "-o", "run", "--set"], "--set has no '='"),
        (["init", "tinny", "-o", "m.janus.pt"], "did you mean 'tiny'"),
    ],
)
def test_what_is_wrong_before_any_work_is_said_before_torch_is_loaded(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    recipe = "{model: {preset: tiny, cutof: 3}, data: {sets: [{path: a.db}]}, train: {steps: 1}}"
    (tmp_path / "r.yaml").write_text(recipe)
    code = (
        f"import sys; sys.argv = ['janus-md', *{arguments!r}]; from janus_md.cli.main import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_user_error_is_one_sentence_and_code_2() -> None:
    done = run("info", "nothing-here.janus.pt")
    assert done.returncode == 2
    assert "nothing-here.janus.pt" in done.stderr
    assert "Traceback" not in done.stderr


def test_lists_are_spelled_out() -> None:
    given = ["init", "tiny", "--elements", "Si", "O", "-o", "x", "--set", "a.b=1", "c=2"]
    assert spell_out(given) == [
        "init", "tiny", "--elements", "Si", "--elements", "O", "-o", "x", "--set", "a.b=1", "--set", "c=2",
    ]  # fmt: skip
    assert spell_out(["--set", "a=1", "=3", "runs/lr=3.yaml"]) == [
        "--set", "a=1", "--set", "=3", "runs/lr=3.yaml",
    ]  # fmt: skip
    assert spell_out(["--key", "energy=E", "forces=F", "a.xyz"]) == [
        "--key", "energy=E", "--key", "forces=F", "a.xyz",
    ]  # fmt: skip
    assert spell_out(["run", "--", "--elements", "Si", "O"])[-2:] == ["Si", "O"]


def test_init_info_and_no_overwriting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.janus.pt"
    assert call(capsys, "init", "tiny", "-o", model, "--elements", "O", "Si")[0] == 0
    code, out, _ = call(capsys, "info", model)
    assert code == 0
    assert "O Si" in out
    before = model.read_bytes()
    assert "m.janus.pt already exists" in refused(capsys, "init", "tiny", "-o", model)
    assert model.read_bytes() == before
    assert call(capsys, "init", "tiny", "-o", model, "--force", "--elements", "H")[0] == 0


def test_a_model_beyond_memory_is_refused_before_its_weights_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("janus_md.export.memory.free_memory", lambda: 10**9)
    error = refused(capsys, "init", "moe-l", "-o", tmp_path / "m.janus.pt")
    assert "the experts of 103 elements" in error
    assert not list(tmp_path.iterdir())


def test_a_random_model_has_forces_of_ordinary_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sums over neighbours were not scaled by their number: forces were those of an explosion."""
    from janus_md import JanusCalculator

    salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 2
    salt.rattle(0.1, seed=0)
    for preset in ("tiny", "small", "fast"):
        model = tmp_path / f"{preset}.janus.pt"
        assert call(capsys, "init", preset, "-o", model, "--elements", "Na", "Cl")[0] == 0
        salt.calc = JanusCalculator(model, device="cpu")
        largest = abs(salt.get_forces()).max()
        assert 0.01 < largest < 10.0, preset


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["init", "tinny", "-o", "new.janus.pt"],
            ["tinny", "did you mean 'tiny'", "give the name"],
        ),
        (["init", "tiny", "-o", "new.janus.pt", "--elements", "Qq"], ["Qq"]),
        (["init", "tiny", "-o", "new.janus.pt", "--elements", "si"], ["did you mean 'Si'?"]),
        (["init", "tiny", "-o", "new.janus.pt", "--elements", "X"], ["'X' is no chemical element"]),
        (["init", "tiny", "-o", "new.xyz"], ["new.xyz", "end with .janus.pt"]),
        (["export", ".", "-o", "new.xyz"], ["new.xyz", "end with .janus.pt"]),
        (["init", "tiny", "-o", "no/such/m.janus.pt"], ["no/such"]),
        (["info", "missing.extxyz"], ["missing.extxyz", "does not exist"]),
        (["export", "missing", "-o", "new.janus.pt"], ["missing", "does not exist"]),
        (["export", ".", "-o", "new.janus.pt"], ["neither a checkpoint", "janus-md train"]),
        (["relax", "missing.cif", "-m", "m.janus.pt", "-o", "o.cif"], ["missing.cif"]),
        (["export", "m.janus.pt", "-o", "new.janus.pt"], ["m.janus.pt is a file, not the folder"]),
        (["train", "silicon", "-o", "si.cif"], ["si.cif is a file; choose another"]),
        (
            ["train", "silicon", "-o", "run", "--resume"],
            ["leave out silicon", "changes with --set"],
        ),
        (["train", "-o", "si.cif", "--resume"], ["si.cif is a file, not the folder of a run"]),
        (["relax", "si.cif", "-m", "missing.pt", "-o", "o.cif"], ["missing.pt", "check the name"]),
        (["relax", "si.cif", "-m", "m.janus.pt", "-o", "o.nonsense"], ["o.nonsense", ".cif"]),
        (["relax", "si.cif", "-m", "m.janus.pt", "-o", "si.cif"], ["si.cif already exists"]),
        (
            ["relax", "si.cif", "-m", "m.janus.pt", "-o", "o.cif", "--task", "x"],
            ["task 'x'", "give one"],
        ),
        (["relax", "si.cif", "-m", "m.janus.pt", "-o", "o.cif", "--device", "tpu"], ["tpu"]),
        (
            ["relax", "si.cif", "-o", "o.cif"],
            ["missing option '--model' / '-m'; see 'janus-md relax"],
        ),
        (["relax", "si.cif", "-m", "m.janus.pt", "-o", ".", "--force"], [". is a folder"]),
        (["relax", "si.cif", "-m", "m.janus.pt", "-o", "/proc/o.cif"], ["o.cif cannot be written"]),
        (["lammps", "build", "-o", "my-plugin.so", "--bigbig"], ["give --headers as well"]),
        (["lammps", "run", "-n", "2", "-in", "in.file"], ["come after --", "-- -in in.file"]),
        (["lammps", "run", "--", "-in", "in.gone"], ["in.gone does not exist", "after -in"]),
        (["relax", "si.cif", "--modl", "m", "-o", "o.cif"], ["no such option: --modl", "--model"]),
        (["relax", "a.cif", "b.cif", "-m", "m.janus.pt", "-o", "o.cif"], ["unexpected", "b.cif"]),
        (["reelax"], ["no such command 'reelax' (did you mean 'relax'?); see 'janus-md --help'"]),
        (["data", "spilt"], ["no such command 'spilt'", "see 'janus-md data --help'"]),
        (["md", "si.cif", "-m", "m.janus.pt", "-o", "t.nonsense"], ["t.nonsense", ".extxyz"]),
        (["md", "si.cif", "-m", "m.janus.pt", "-o", "POSCAR"], ["POSCAR", "several frames"]),
    ],
)
def test_mistakes(
    arguments: list[str],
    words: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    error = refused(capsys, *arguments)
    for word in words:
        assert word in error
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("group", [[], ["data"], ["lammps"]])
def test_a_group_alone_shows_its_help(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = call(capsys, *group)
    assert code == 2
    assert "Commands" in out + error
    assert "janus-md: " not in error


def test_a_command_line_that_ends_early_keeps_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(capsys, "--version")[0] == 0
    assert call(capsys, "relax", "--help")[0] == 0


def test_a_damaged_model_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (folder / "m.janus.pt").read_bytes()
    (tmp_path / "cut.janus.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.janus.pt").write_text("hello")
    for name in ("cut.janus.pt", "text.janus.pt"):
        assert name in refused(capsys, "info", tmp_path / name)


@pytest.mark.parametrize(("step", "warned"), [(0, True), (120, False)])
def test_a_model_from_before_the_first_step_is_not_exported_in_silence(
    step: int, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from janus_md.model import MatRISMoE, preset
    from janus_md.model.checkpoint import save_model
    from janus_training.progress import STATE, Progress

    checkpoint = tmp_path / "run" / "checkpoints" / "best"
    save_model(MatRISMoE(preset("tiny", elements=["Si"])), checkpoint)
    (checkpoint / STATE).write_text(json.dumps(asdict(Progress(step=step))))
    code, _, error = call(capsys, "export", tmp_path / "run", "-o", tmp_path / "m.janus.pt")
    assert code == 0, error
    assert ("from before the first step of training" in error) == warned


def test_a_run_without_a_checkpoint_is_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert "has no checkpoint yet" in refused(capsys, "info", tmp_path / "run")


def test_an_interruption_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("janus_md.cli.info.describe", interrupted)
    code, _, error = call(capsys, "info", folder / "m.janus.pt")
    assert code == 130
    assert error == "janus-md: interrupted; what was written until then is there\n"
