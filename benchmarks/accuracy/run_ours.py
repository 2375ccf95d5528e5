"""Janus-MD, trained by its own ``janus-md train``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from job import FRACTIONS, Job, Prediction, main, test_frames

from janus_md.calculators.source import open_source
from janus_md.io import read_frames
from janus_training.evaluate import predict_frames
from janus_training.graph_store import GraphStore
from janus_training.metrics import read_metrics

KEPT = ("model.safetensors", "model.json")


def train(job: Job) -> dict[str, Any]:
    """Run the recipe on the frames of the case; copy its last checkpoint whenever there is a new one.

    Returns the recipe as it was run, without its data, which are those of the case.
    """
    folder = Path(job.folder)
    recipe = folder / "recipe.yaml"
    chosen = recipe_as_run(job)
    recipe.write_text(yaml.safe_dump(chosen, sort_keys=False))
    if job.method == "ours-compiled":
        # Compiling counts: nothing may be left of an earlier run.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / "compiled")
    words = ["train", str(recipe), "-o", str(folder / "run")]
    code = "from janus_md.cli.main import main; main()"
    running = subprocess.Popen([sys.executable, "-c", code, *words])
    seen = ""
    job.snapshots.mkdir(parents=True, exist_ok=True)
    try:
        while running.poll() is None:
            time.sleep(0.3)
            seen = _keep(job, folder / "run" / "checkpoints" / "last", seen)
    finally:
        running.terminate()
    if running.wait():
        raise SystemExit("janus-md train failed")
    _keep(job, folder / "run" / "checkpoints" / "last", seen)
    steps = [row["step"] for row in read_metrics(folder / "run") if row["kind"] == "train"]
    job.write("end.json", {"steps": steps[-1]})
    return {part: value for part, value in chosen.items() if part != "data"}


def recipe_as_run(job: Job) -> dict[str, Any]:
    """The recipe with the frames of the case in place of its own, under the same name of the task, and the job's time.

    ``ours-fast`` trains the preset ``fast`` by it, ``ours-compiled`` compiles its steps.
    """
    chosen = yaml.safe_load(Path(job.recipe).read_text())
    if job.method == "ours-fast":
        chosen["model"] = {"preset": "fast"}
    task = chosen["data"]["sets"][0].get("task", "default")
    one = {"path": "train.extxyz", "valid": "valid.extxyz", "task": task}
    chosen["data"] = {"root": job.data, "sets": [one]}
    chosen["train"] |= {
        "max_minutes": round(job.minutes - (time.time() - job.started) / 60.0, 4),
        "checkpoint_minutes": round(job.minutes / (len(FRACTIONS) + 1), 4),
        "threads": job.threads, "seed": job.seed,
    }  # fmt: skip
    if job.method == "ours-compiled":
        chosen["train"]["compile"] = True
    return chosen


def _keep(job: Job, last: Path, seen: str) -> str:
    """Copy what the link points to, unless it was copied before or is from before the first step."""
    if not last.is_symlink() or (name := os.readlink(last)) == seen:
        return seen
    if name == "step-00000000":
        return name
    scratch = Path(job.folder) / "snapshot.part"
    scratch.mkdir(exist_ok=True)
    try:
        for file in KEPT:
            shutil.copy(last.parent / name / file, scratch / file)
    except FileNotFoundError:  # replaced by a newer one meanwhile
        return seen
    scratch.rename(job.snapshots / f"{(time.time() - job.started) / 60.0:08.3f}")
    return name


def evaluator(job: Job) -> Any:
    torch.set_num_threads(job.threads)
    frames = read_frames(job.file("test"))

    def predict(path: Path) -> list[Prediction]:
        source = open_source(path, "cpu")
        for frame in frames:
            frame.task = source.tasks[0]
        store = GraphStore(frames, source.tasks, source.cutoff, source.line_cutoff, 1.0)
        return [(one.energy, one.forces) for one in predict_frames(source.model, store)]

    assert len(frames) == len(test_frames(job))
    return predict


if __name__ == "__main__":
    main(["janus-md", "torch"], train, evaluator)
