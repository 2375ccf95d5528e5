"""Models and ways of training them side by side: dense and with routed experts, equal wall time, several seeds.

    python benchmarks/accuracy/experts.py --minutes 6 --seeds 0 1 2 --data ../shared/data -o RUNS

Trains every model of ``experts.yaml``, or of another file beside it (``--models parts``), on the frames of
``hot-crystals`` and ``mptrj`` together, each a task, seed by seed and model by model, so that a change of the machine's
pace meets all of them. A model is what it has in place of the recipe that all share. Prints validation errors, means
and ranges over seeds. RUNS/experts.json holds what is done, which is not done again. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import yaml
from cases import write_case
from compare import ROOT, cpu_minutes, environment, pin
from processor import cpu_model
from results import row, store, stored

from janus_md.errors import UserError, nearest
from janus_md.export.write import active_parameters
from janus_md.model.checkpoint import load_model
from janus_md.run_folder import checkpoint_folder
from janus_training import yaml_files
from janus_training.metrics import read_metrics

HERE = Path(__file__).resolve().parent
TASKS = "hot-crystals", "mptrj"
SETS = *TASKS, "both"
Run = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--models", type=Path, default=Path("experts"), metavar="FILE")
    parser.add_argument("--only", nargs="+", metavar="MODEL")
    parser.add_argument("--minutes", type=float, default=6.0, help="wall time of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, nargs="+", help="pin everything to these cores")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of everything")
    options = parser.parse_args()
    file = options.output / "experts.json"
    try:
        plan, models = read_models(options.models, options.only)
        check(options)
        runs: list[Run] = stored(file)
        if options.cores is not None:
            pin(options.cores)
        recipes = {
            name: recipe(plan, model, options.data.resolve(), options.output.resolve())
            for name, model in models.items()
        }
    except UserError as error:
        sys.exit(f"experts.py: {error}")
    for seed in options.seeds:
        for name, content in recipes.items():
            wanted = {"model": name, "seed": seed, "minutes": options.minutes}
            if any(wanted.items() <= run.items() for run in runs):
                continue
            folder = options.output / f"{name}-{seed}-{options.minutes:g}-minutes"
            try:
                runs.append(wanted | train(content, seed, options.minutes, folder))
            except subprocess.CalledProcessError:
                sys.exit(f"experts.py: the training of {folder} ended early; what it says is above")
            store(file, runs)
    print(table([run for run in runs if run["minutes"] == options.minutes]))


def read_models(file: Path, only: list[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the models of a file share, and those that are wanted. Raises ``UserError`` where they are not there."""
    file = yaml_files.find(file, [HERE], "file of models")
    plan = yaml_files.read(file, "model and models")
    models = plan.pop("models", {})
    for name in only or []:
        if name not in models:
            raise UserError(f"model '{name}' is not in {file.name}{nearest(name, models)}")
    return plan, {name: models[name] for name in only or models}


def check(options: argparse.Namespace) -> None:
    """Raises ``UserError`` for what no run could be made of."""
    if options.minutes <= 0 or min(options.seeds) < 0:
        raise UserError("--minutes must be positive, and --seeds must not be negative")


def recipe(plan: dict[str, Any], model: dict[str, Any], data: Path, output: Path) -> dict[str, Any]:
    """What all models share with what one of them has in its place, on frames that are split once."""
    sets = []
    for task in TASKS:
        write_case(task, data, output / "data" / task)
        sets.append({"path": f"{task}/train.extxyz", "valid": f"{task}/valid.extxyz", "task": task})
    own = {name: plan.get(name, {}) | changed for name, changed in model.items()}
    return plan | own | {"data": {"root": str(output / "data"), "sets": sets}}


def train(content: dict[str, Any], seed: int, minutes: float, folder: Path) -> Run:
    """One training; what it used and its errors on the validation frames at the end."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was interrupted
    folder.mkdir(parents=True)
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    words = ["train", file, "-o", folder / "run", "--set", f"train.max_minutes={minutes}"]
    words += ["train.threads=1", f"train.seed={seed}"]
    code = "from janus_md.cli.main import main; main()"
    before = cpu_minutes()
    subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=environment(1, ours=True), check=True
    )
    rows = read_metrics(folder / "run")
    last = [step for step in rows if step["kind"] == "train"]
    valid = {task["task"]: task for task in rows if task["kind"] == "valid"}
    tail = last[-max(1, len(last) // 10) :]
    model = load_model(checkpoint_folder(folder / "run"))
    return {
        "cpu_minutes": round(cpu_minutes() - before, 3), "cpu": cpu_model(),
        "steps": last[-1]["step"], "parameters": sum(weight.numel() for weight in model.parameters()),
        "active_parameters": active_parameters(model), "settings": content["model"],
        "train": {term: statistics.fmean(step[term] for step in tail) for term in ("energy", "forces")},
        "valid": valid_errors(valid, Path(content["data"]["root"])),
    }  # fmt: skip


def valid_errors(valid: dict[str, Run], data: Path) -> dict[str, dict[str, float]]:
    """MAE of forces, meV/Å, and energies, meV/atom, of each task and of all their validation frames."""
    found = {
        task: {term: 1000.0 * valid[task][term] for term in ("forces", "energy")} for task in TASKS
    }
    frames = [ase.io.read(data / task / "valid.extxyz", ":") for task in TASKS]
    weights = {
        "forces": [sum(map(len, part)) for part in frames],
        "energy": [len(part) for part in frames],
    }
    both = {
        term: statistics.fmean((found[task][term] for task in TASKS), weights=weights[term])
        for term in weights
    }
    return found | {"both": both}


def table(runs: list[Run]) -> str:
    """Means and ranges over seeds."""
    errors = " | ".join(f"{name}: forces, meV/Å | energy, meV/atom" for name in SETS)
    lines = [
        row(["model", "active", "all", "seeds", "steps", errors]),
        row(["---"] * (5 + 2 * len(SETS))),
    ]
    for name in dict.fromkeys(run["model"] for run in runs):
        mine = [run for run in runs if run["model"] == name]
        cells = [
            name,
            f"{mine[0]['active_parameters']:,}",
            f"{mine[0]['parameters']:,}",
            str(len(mine)),
        ]
        cells.append(_spread(mine, lambda run: run["steps"]))
        for task in SETS:
            for term in ("forces", "energy"):
                cells.append(_spread(mine, lambda run, t=task, e=term: run["valid"][t][e]))
        lines.append(row(cells))
    return "\n".join(lines) + "\n"


def _spread(runs: list[Run], value: Callable[[Run], float]) -> str:
    found = [value(run) for run in runs]
    spread = f" ({min(found):.0f} to {max(found):.0f})" if len(found) > 1 else ""
    return f"{statistics.fmean(found):.0f}{spread}"


if __name__ == "__main__":
    main()
