"""MACE, trained by its own ``mace_run_train``; runs in its environment."""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any

import torch
from ase.data import atomic_numbers
from job import Job, OutOfTime, Pacer, Prediction, main, test_frames
from mace import data
from mace.cli import run_train
from mace.tools import AtomicNumberTable, build_default_arg_parser, torch_geometric

BATCH = 4
TENTH = 0.75
"""Share of the epochs after which the rate of ``mace-tuned`` is a tenth."""


def settings(job: Job) -> dict[str, Any]:
    """``mace`` as a user with a CPU would run it; ``mace-tuned`` lets energies count from the start and decays.

    The defaults (128x0e + 128x1o) are several times slower: one thread would see few epochs in minutes.
    """
    epochs = job.epochs or 100_000
    common = {
        "hidden_irreps": "64x0e", "r_max": 5.0, "batch_size": BATCH, "valid_batch_size": BATCH,
        "E0s": "average", "energy_weight": 1, "forces_weight": 100, "lr": 0.01,
        "default_dtype": "float32", "max_num_epochs": epochs,
        "atomic_numbers": str([atomic_numbers[symbol] for symbol in job.elements]),
    }  # fmt: skip
    if job.method == "mace":
        # 50 epochs of patience are made for thousands of epochs.
        return common | {"scheduler_patience": max(1, epochs // 20)}
    tenth = max(1, round(TENTH * epochs))
    energies = {atomic_numbers[symbol]: e for symbol, e in job.references.items()}
    return common | {
        "E0s": str(energies), "energy_weight": 40,
        "scheduler": "ExponentialLR", "lr_scheduler_gamma": round(0.1 ** (1 / tenth), 6),
    }  # fmt: skip


def train(job: Job) -> dict[str, Any]:
    torch.set_num_threads(job.threads)
    pacer, chosen = Pacer(job, BATCH), settings(job)
    options = {
        "name": "mace", "seed": job.seed, "device": "cpu", "num_workers": 0, "plot": False,
        "train_file": job.file("train"), "valid_file": job.file("valid"),
        "energy_key": "energy", "forces_key": "forces", "work_dir": ".",
    }  # fmt: skip
    words = ["--ema", *(f"--{name}={value}" for name, value in (options | chosen).items())]
    os.chdir(job.folder)
    _watch(pacer)
    with contextlib.suppress(OutOfTime):
        run_train.run(build_default_arg_parser().parse_args(words))
    return chosen | {"ema": True}


def _watch(pacer: Pacer) -> None:
    """Let the pacer see every step and the end of MACE's training function."""
    module = importlib.import_module("mace.tools.train")
    whole, one_step = module.train, module.take_step
    last: dict[str, Any] = {}

    def save(path: Path) -> None:
        averaged = last["ema"].average_parameters() if last["ema"] else contextlib.nullcontext()
        with averaged:
            torch.save(last["model"], f"{path}.model")

    def take_step(*args: Any, **kwargs: Any) -> Any:
        done = one_step(*args, **kwargs)
        last.update(model=kwargs["model"], ema=kwargs["ema"])
        pacer.step(save)
        return done

    def train_then_leave(*args: Any, **kwargs: Any) -> None:
        whole(*args, **kwargs)
        pacer.finish(save)

    module.take_step = take_step
    run_train.tools.train = train_then_leave


def evaluator(job: Job) -> Any:
    """In batches, as ``mace_eval_configs`` does it, and with one model for all snapshots: it is slow when new."""
    torch.set_num_threads(job.threads)
    torch.set_default_dtype(torch.float32)
    first = min(job.snapshots.iterdir())
    model = torch.load(first, map_location="cpu", weights_only=False).eval().requires_grad_(False)
    table = AtomicNumberTable([int(number) for number in model.atomic_numbers])
    graphs = [
        data.AtomicData.from_config(
            data.config_from_atoms(atoms), z_table=table, cutoff=float(model.r_max)
        )
        for atoms in test_frames(job)
    ]

    def predict(path: Path) -> list[Prediction]:
        kept = torch.load(path, map_location="cpu", weights_only=False)
        model.load_state_dict(kept.state_dict())
        found: list[Prediction] = []
        for batch in torch_geometric.dataloader.DataLoader(graphs, batch_size=8, shuffle=False):
            output = model(batch.to_dict(), compute_stress=False)
            forces = output["forces"].detach().split(batch.ptr.diff().tolist())
            energies = output["energy"].tolist()
            found += zip(energies, (one.numpy() for one in forces), strict=True)
        return found

    return predict


if __name__ == "__main__":
    main(["mace-torch", "torch", "e3nn"], train, evaluator)
