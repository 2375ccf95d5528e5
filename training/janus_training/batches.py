"""Labels of frames as tensors with masks, and graphs together with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from janus_md.graph import GraphBatch
from janus_md.io import Frame


@dataclass(frozen=True)
class Targets:
    """Labels of a batch in input order, float64; zeros where the mask beside them says there is none.

    ``energy`` [B] eV, ``forces`` [N, 3], ``stress`` [B, 3, 3], ``magmoms`` [N] (absolute values);
    ``has_energy`` and ``has_stress`` [B], ``has_forces`` and ``has_magmoms`` [N]; ``sizes`` [B] atoms.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    magmoms: Tensor
    has_energy: Tensor
    has_forces: Tensor
    has_stress: Tensor
    has_magmoms: Tensor
    sizes: Tensor

    def to(self, device: torch.device) -> Targets:
        """The same labels on another device."""
        return Targets(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass(frozen=True)
class Batch:
    """Graphs with labels: a whole batch, or this process's share of one.

    ``members``: how many structures or atoms of the whole batch have each label.
    """

    graphs: GraphBatch
    targets: Targets
    members: dict[str, int]

    def to(self, device: torch.device) -> Batch:
        return replace(self, graphs=self.graphs.to(device), targets=self.targets.to(device))


def targets_of(frames: Sequence[Frame]) -> Targets:
    """Labels of frames put side by side."""
    sizes = torch.tensor([len(frame.atoms) for frame in frames], dtype=torch.int64)
    energy = [0.0 if frame.energy is None else frame.energy for frame in frames]
    stress = [np.zeros((3, 3)) if frame.stress is None else frame.stress for frame in frames]

    def per_atom(name: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        values = [getattr(frame, name) for frame in frames]
        filled = [
            np.zeros((len(frame.atoms), *shape)) if value is None else value
            for frame, value in zip(frames, values, strict=True)
        ]
        present = torch.tensor([value is not None for value in values], dtype=torch.bool)
        whole = np.concatenate([np.zeros((0, *shape)), *filled])
        return torch.from_numpy(whole), present.repeat_interleave(sizes)

    forces, has_forces = per_atom("forces", (3,))
    magmoms, has_magmoms = per_atom("magmoms", ())
    return Targets(
        energy=torch.tensor(energy, dtype=torch.float64),
        forces=forces,
        stress=torch.from_numpy(np.array(stress).reshape(-1, 3, 3)),
        magmoms=magmoms.abs(),
        has_energy=torch.tensor([frame.energy is not None for frame in frames], dtype=torch.bool),
        has_forces=has_forces,
        has_stress=torch.tensor([frame.stress is not None for frame in frames], dtype=torch.bool),
        has_magmoms=has_magmoms,
        sizes=sizes,
    )
