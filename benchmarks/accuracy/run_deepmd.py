"""DeePMD (TensorFlow), trained by its own ``dp train``; runs in its environment."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
from job import FRACTIONS, Job, Prediction, main, with_calculator

BATCH = 1
"""Structures: DeePMD's ``auto`` takes as many as have 32 atoms."""

CUTOFF = 6.0
"""Å, as the manual's examples."""

PACE_STEPS = 400


def settings(job: Job) -> dict[str, Any]:
    """Network, losses and learning rates of the manual's water example, laid out for the steps there are."""
    steps = (job.epochs or 1_000_000) * math.ceil(job.count["train"] / BATCH)
    return {
        "model": {
            "type_map": job.elements,
            "descriptor": {
                "type": "se_e2_a", "sel": "auto", "rcut_smth": 0.5, "rcut": CUTOFF, "neuron": [25, 50, 100],
                "resnet_dt": False, "axis_neuron": 16, "precision": "float32", "seed": job.seed,
            },
            "fitting_net": {
                "neuron": [240, 240, 240], "resnet_dt": True, "precision": "float32", "seed": job.seed,
            },
        },
        "learning_rate": {
            "type": "exp", "start_lr": 0.001, "stop_lr": 3.51e-8, "decay_steps": max(1, steps // 200),
        },
        "loss": {
            "type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1,
        },
        "training": {"numb_steps": steps, "seed": job.seed, "max_ckpt_keep": 100},
    }  # fmt: skip


def train(job: Job) -> dict[str, Any]:
    chosen = settings(job)
    folder = Path(job.folder)
    systems = write_systems(ase.io.read(job.file("train"), ":"), job.elements, folder / "systems")
    training = chosen["training"]
    if job.epochs is None:
        training = training | {"numb_steps": PACE_STEPS, "disp_freq": PACE_STEPS // 4}
    else:
        # DeePMD looks whether to keep weights only when it reports, by default every thousand steps.
        each = max(1, training["numb_steps"] // (len(FRACTIONS) + 1))
        training = training | {"save_freq": each, "disp_freq": each}
    training = training | {"training_data": {"systems": systems, "batch_size": BATCH}}
    (folder / "input.json").write_text(json.dumps(chosen | {"training": training}, indent=2))
    with (folder / "dp.log").open("w") as log:
        running = subprocess.Popen(dp("train", "input.json"), cwd=folder, stdout=log, stderr=log)
        code = watch(running, job)
    if code:
        raise SystemExit((folder / "dp.log").read_text())
    if job.epochs is None:
        job.write("pace.json", pace(job, (folder / "dp.log").read_text()))
    return chosen


def write_systems(frames: list[ase.Atoms], elements: list[str], folder: Path) -> list[str]:
    """Frames whose atoms are the same in the same order, one folder each in DeePMD's layout."""
    alike: dict[tuple[int, ...], list[ase.Atoms]] = {}
    for atoms in frames:
        alike.setdefault(tuple(atoms.numbers), []).append(atoms)
    for number, members in enumerate(alike.values()):
        place = folder / f"{number:04d}" / "set.000"
        place.mkdir(parents=True)
        kinds = [elements.index(symbol) for symbol in members[0].symbols]
        (place.parent / "type.raw").write_text("\n".join(map(str, kinds)))
        (place.parent / "type_map.raw").write_text("\n".join(elements))
        if not members[0].pbc.any():
            (place.parent / "nopbc").touch()
        rows = {
            "coord": [atoms.positions.ravel() for atoms in members],
            "box": [atoms.cell.array.ravel() for atoms in members],
            "energy": [atoms.get_potential_energy() for atoms in members],
            "force": [atoms.get_forces().ravel() for atoms in members],
        }
        for name, values in rows.items():
            np.save(place / f"{name}.npy", np.array(values))
    return sorted(str(path) for path in folder.iterdir())


def dp(*words: str) -> list[str]:
    return [str(Path(sys.executable).parent / "dp"), "--tf", *words]


def watch(running: subprocess.Popen[bytes], job: Job) -> int:
    """Wait for the training, or end it when the time is over; its exit status, zero where it was ended.

    A snapshot is the name of a checkpoint: DeePMD keeps all.
    """
    job.snapshots.mkdir(parents=True, exist_ok=True)
    while (code := running.poll()) is None:
        if job.epochs is not None and time.time() - job.started >= 60.0 * job.minutes:
            running.terminate()
            running.wait()
            code = 0
            break
        time.sleep(0.3)
    if job.epochs is not None:
        for index in Path(job.folder).glob("model.ckpt-*.index"):
            minutes = (index.stat().st_mtime - job.started) / 60.0
            (job.snapshots / f"{minutes:08.3f}").write_text(index.stem)
    return code


def pace(job: Job, log: str) -> dict[str, float]:
    """From the seconds that DeePMD reports for its batches, without the first ones, which build the graph."""
    times = [float(found) for found in re.findall(r"total wall time = ([\d.]+) s", log)]
    seconds = float(np.mean(times[1:])) / (PACE_STEPS // 4)
    set_up = time.time() - job.started - PACE_STEPS * seconds
    return {
        "set_up_s": max(0.0, set_up),
        "epoch_s": seconds * math.ceil(job.count["train"] / BATCH),
    }


def evaluator(job: Job) -> Callable[[Path], list[Prediction]]:
    from deepmd.calculator import DP

    def predict(path: Path) -> list[Prediction]:
        frozen = Path(job.folder) / f"{path.name}.pb"
        words = dp("freeze", "-c", path.read_text(), "-o", frozen.name)
        subprocess.run(words, cwd=job.folder, check=True, capture_output=True)
        return with_calculator(DP(str(frozen)), job)

    return predict


if __name__ == "__main__":
    main(["deepmd-kit", "tensorflow-cpu"], train, evaluator)
