"""SevenNet, trained by its own ``sevenn train``; runs in its environment."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from job import Job, OutOfTime, Pacer, Prediction, main, with_calculator
from sevenn.main import sevenn as command
from sevenn.scripts import processing_epoch

BATCH = 4


def settings(job: Job) -> dict[str, Any]:
    """``sevennet`` is the ``base`` preset of the package; ``sevennet-tuned`` has a smaller model and SevenNet-0's loss.

    The base preset decays its learning rate by 0.99 in each of 200 epochs; the same decay is spread over ours.
    """
    epochs = job.epochs or 100_000
    model = {
        "chemical_species": job.elements, "cutoff": 5.0, "channel": 32, "lmax": 2,
        "num_convolution_layer": 3, "is_parity": False, "self_connection_type": "nequip",
    }  # fmt: skip
    training = {
        "random_seed": job.seed, "is_train_stress": False, "epoch": epochs, "per_epoch": epochs,
        "optimizer": "adam", "optim_param": {"lr": 0.005},
        "scheduler": "exponentiallr", "scheduler_param": {"gamma": 0.99 ** (200 / epochs)},
        "force_loss_weight": 0.1,
        "error_record": [["Energy", "RMSE"], ["Force", "RMSE"], ["TotalLoss", "None"]],
    }  # fmt: skip
    data = {
        "batch_size": BATCH, "shift": "per_atom_energy_mean", "scale": "force_rms",
        "data_format_args": {"index": ":"},
        "load_trainset_path": [str(job.file("train"))],
        "load_validset_path": [str(job.file("valid"))],
    }  # fmt: skip
    if job.method == "sevennet-tuned":
        model |= {"lmax": 1, "num_convolution_layer": 2, "channel": 64}
        decay = {"start_factor": 1.0, "total_iters": epochs, "end_factor": 1e-4}
        training |= {
            "optim_param": {"lr": 0.01}, "scheduler": "linearlr", "scheduler_param": decay,
            "loss": "Huber", "loss_param": {"delta": 0.01}, "force_loss_weight": 1.0,
        }  # fmt: skip
        if len(job.elements) > 1:
            data["shift"] = "elemwise_reference_energies"
    return {"model": model, "train": training, "data": data}


def train(job: Job) -> dict[str, Any]:
    torch.set_num_threads(job.threads)
    pacer, chosen = Pacer(job, BATCH), settings(job)
    folder = Path(job.folder)
    (folder / "input.yaml").write_text(yaml.safe_dump(chosen, sort_keys=False))
    _watch(pacer)
    work = str(folder / "work")
    sys.argv = ["sevenn", "train", str(folder / "input.yaml"), "-w", work, "-s"]
    with contextlib.suppress(OutOfTime):
        command.main()
    for key in ("load_trainset_path", "load_validset_path"):
        chosen["data"].pop(key)
    return chosen


def _watch(pacer: Pacer) -> None:
    """Let the pacer see every step and the end of SevenNet's loop over epochs."""
    loop = processing_epoch.processing_epoch_v2

    def watched(config: dict[str, Any], trainer: Any, *args: Any, **kwargs: Any) -> None:
        def save(path: Path) -> None:
            trainer.write_checkpoint(f"{path}.pth", config=config, epoch=0)

        trainer.optimizer.register_step_post_hook(lambda *_: pacer.step(save))
        loop(config, trainer, *args, **kwargs)
        pacer.finish(save)

    processing_epoch.processing_epoch_v2 = watched


def evaluator(job: Job) -> Any:
    from sevenn.calculator import SevenNetCalculator

    torch.set_num_threads(job.threads)
    return lambda path: _predict(SevenNetCalculator(path, "checkpoint", "cpu"), job)


def _predict(calculator: Any, job: Job) -> list[Prediction]:
    return with_calculator(calculator, job)


if __name__ == "__main__":
    main(["sevenn", "torch", "e3nn"], train, evaluator)
