"""CHGNet's architecture from random weights, trained by its own ``Trainer``; runs in its environment."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import ase
import ase.io
import torch
from ase.data import atomic_numbers
from chgnet.data.dataset import StructureData, collate_graphs
from chgnet.model.composition_model import AtomRef
from chgnet.model.model import CHGNet
from chgnet.trainer import Trainer
from job import Job, OutOfTime, Pacer, Prediction, main, test_frames
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from torch.utils.data import DataLoader

VACUUM = 10.0
"""Å on each side of a molecule: CHGNet knows periodic structures only, and looks 6 Å far."""
BATCH = {"chgnet": 8, "chgnet-tuned": 2}


def settings(job: Job) -> dict[str, Any]:
    """``chgnet`` is the example of its documentation; ``chgnet-tuned`` the loss of its paper, with small batches.

    Its cosine ends after the epochs that the time is enough for.
    """
    common = {
        "targets": "ef", "optimizer": "Adam", "scheduler": "CosLR", "epochs": job.epochs or 100_000,
    }  # fmt: skip
    if job.method == "chgnet":
        return common | {"criterion": "MSE", "learning_rate": 1e-2}
    ratios = {"energy_loss_ratio": 2.0, "force_loss_ratio": 1.5}
    return common | {"criterion": "Huber", "learning_rate": 5e-3} | ratios


def train(job: Job) -> dict[str, Any]:
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    batch, chosen = BATCH[job.method], settings(job)
    pacer = Pacer(job, batch)
    model = CHGNet(composition_model=_references(job))
    trainer = Trainer(
        model=model, torch_seed=job.seed, data_seed=job.seed, use_device="cpu", **chosen
    )

    def save(path: Path) -> None:
        torch.save(model.state_dict(), f"{path}.pt")

    trainer.optimizer.register_step_post_hook(lambda *_: pacer.step(save))
    with contextlib.suppress(OutOfTime):
        loaders = [_loader(job, part, batch, model) for part in ("train", "valid")]
        trainer.train(*loaders, save_dir=str(Path(job.folder) / "work"))
        pacer.finish(save)
    return chosen | {"batch_size": batch}


def evaluator(job: Job) -> Any:
    torch.set_num_threads(job.threads)
    model = CHGNet(composition_model=_references(job))
    graphs = [model.graph_converter(periodic(atoms)) for atoms in test_frames(job)]

    def predict(path: Path) -> list[Prediction]:
        model.load_state_dict(torch.load(path))
        found = model.predict_graph(graphs, task="ef", batch_size=4)
        return [(float(one["e"]) * len(one["f"]), one["f"]) for one in found]

    return predict


def periodic(atoms: ase.Atoms) -> Structure:
    """The structure, a molecule in a box so wide that it does not see its images."""
    atoms = atoms.copy()
    if not atoms.pbc.any():
        atoms.center(vacuum=VACUUM)
        atoms.pbc = True
    return AseAtomsAdaptor.get_structure(atoms)


def _references(job: Job) -> AtomRef:
    """The reference energies fitted for everybody; CHGNet's own fit fails for elements that never occur."""
    references = AtomRef(is_intensive=True)
    weights = torch.zeros(1, references.max_num_elements)
    for symbol, energy in job.references.items():
        if atomic_numbers[symbol] <= references.max_num_elements:
            weights[0, atomic_numbers[symbol] - 1] = energy
    references.fc.load_state_dict({"weight": weights})
    references.fitted = True
    return references


def _loader(job: Job, part: str, batch: int, model: CHGNet) -> DataLoader:
    frames = ase.io.read(job.file(part), ":")
    data = StructureData(
        structures=[periodic(atoms) for atoms in frames],
        energies=[atoms.get_potential_energy() / len(atoms) for atoms in frames],
        forces=[atoms.get_forces() for atoms in frames],
        graph_converter=model.graph_converter,
    )
    return DataLoader(data, batch_size=batch, shuffle=part == "train", collate_fn=collate_graphs)


if __name__ == "__main__":
    main(["chgnet", "torch"], train, evaluator)
