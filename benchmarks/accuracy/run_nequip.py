"""NequIP, trained by its own ``nequip-train``; runs in its environment."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from job import Job, OutOfTime, Pacer, Prediction, main, with_calculator
from lightning.pytorch.callbacks import Callback

BATCH = 5
CUTOFF = 5.0
MONITORED = "val0_epoch/weighted_sum"


class Watch(Callback):
    """Lets the pacer see every step and the end of the training; instantiated by NequIP from its configuration."""

    def __init__(self, job: str) -> None:
        self._pacer = Pacer(Job(**json.loads(Path(job).read_text())), BATCH)

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        self._pacer.step(lambda path: trainer.save_checkpoint(f"{path}.ckpt"))

    def on_train_end(self, trainer: Any, *args: Any) -> None:
        self._pacer.finish(lambda path: trainer.save_checkpoint(f"{path}.ckpt"))


def settings(job: Job) -> dict[str, Any]:
    """``nequip`` is the tutorial's configuration without compilation and ZBL; ``nequip-tuned`` smaller, with a cosine.

    The tutorial's schedule waits five epochs for an improvement, here at most a twentieth of all.
    """
    epochs = job.epochs or 100_000
    shifts = {symbol: float(job.references[symbol]) for symbol in job.elements}
    many = len(job.elements) > 4
    model = {
        "_target_": "nequip.model.NequIPGNNModel", "seed": job.seed, "model_dtype": "float32",
        "type_names": job.elements, "r_max": CUTOFF, "num_bessels": 8, "num_layers": 4, "l_max": 1,
        "parity": True, "num_features": 32, "radial_mlp_depth": 2, "radial_mlp_width": 64,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
        # Of 80 elements some have no force in the training set to take a scale from.
        "per_type_energy_scales": "${training_data_stats:forces_rms}" if many
        else "${training_data_stats:per_type_forces_rms}",
        "per_type_energy_shifts": shifts,
    }  # fmt: skip
    plateau = {
        "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.6,
        "patience": min(5, max(1, epochs // 20)), "threshold": 0.2, "min_lr": 1e-6,
    }  # fmt: skip
    schedule = {"scheduler": plateau, "monitor": MONITORED, "interval": "epoch", "frequency": 1}
    decay = 0.999
    if job.method == "nequip-tuned":
        model |= {"num_layers": 3, "parity": False, "radial_mlp_depth": 1}
        cosine = {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": epochs}
        schedule = {"scheduler": cosine, "interval": "epoch", "frequency": 1}
        decay = 0.99
    metrics = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
    }
    module = {
        "_target_": "nequip.train.EMALightningModule", "ema_decay": decay,
        "loss": {
            "_target_": "nequip.train.EnergyForceLoss", "per_atom_energy": True,
            "coeffs": {"total_energy": 1.0, "forces": 1.0},
        },
        "val_metrics": metrics, "train_metrics": metrics, "test_metrics": metrics,
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
        "lr_scheduler": schedule, "model": model,
    }  # fmt: skip
    return {"batch_size": BATCH, "max_epochs": epochs, "training_module": module}


def train(job: Job) -> dict[str, Any]:
    torch.set_num_threads(job.threads)
    chosen = settings(job)
    folder = Path(job.folder)
    content = configuration(job, chosen, str(folder / "job.json"))
    (folder / "nequip.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    words = ["-cp", str(folder), "-cn", "nequip.yaml", f"hydra.run.dir={folder / 'work'}"]
    sys.argv = ["nequip-train", *words]
    # NequIP takes the working directory for Hydra's configuration path when it is imported.
    from nequip.scripts.train import main as nequip_train

    with contextlib.suppress(OutOfTime):
        nequip_train()
    return chosen


def configuration(job: Job, chosen: dict[str, Any], path: str) -> dict[str, Any]:
    loader = {
        "_target_": "torch.utils.data.DataLoader", "batch_size": BATCH, "num_workers": 0,
    }  # fmt: skip
    transforms = [
        {
            "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
            "model_type_names": job.elements,
        },
        {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF},
    ]
    data = {
        "_target_": "nequip.data.datamodule.ASEDataModule", "seed": job.seed,
        "train_file_path": str(job.file("train")), "val_file_path": str(job.file("valid")),
        "transforms": transforms,
        "train_dataloader": loader | {"shuffle": True}, "val_dataloader": loader,
        "stats_manager": {
            "_target_": "nequip.data.CommonDataStatisticsManager",
            "dataloader_kwargs": {"batch_size": BATCH}, "type_names": job.elements,
        },
    }  # fmt: skip
    trainer = {
        "_target_": "lightning.Trainer", "accelerator": "cpu", "enable_checkpointing": False,
        "max_epochs": chosen["max_epochs"], "logger": False, "enable_progress_bar": False,
        "num_sanity_val_steps": 0,
        "callbacks": [{"_target_": "run_nequip.Watch", "job": path}],
    }  # fmt: skip
    return {
        "run": ["train"], "data": data, "trainer": trainer,
        "training_module": chosen["training_module"],
        "global_options": {"allow_tf32": False},
    }  # fmt: skip


def evaluator(job: Job) -> Any:
    from nequip.integrations.ase import NequIPCalculator

    def predict(path: Path) -> list[Prediction]:
        calculator = NequIPCalculator._from_saved_model(str(path), device="cpu")
        return with_calculator(calculator, job)

    torch.set_num_threads(job.threads)
    return predict


if __name__ == "__main__":
    main(["nequip", "torch", "e3nn"], train, evaluator)
