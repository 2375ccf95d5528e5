"""Training steps within a budget of memory: of batches that would not fit, blocks are recomputed."""

from __future__ import annotations

from janus_md.model import MatRISMoE
from janus_md.model.engine import Derivatives, Inputs, PlainDerivatives
from janus_md.model.recompute import RecomputingDerivatives, activations

TRAINING_FACTOR = 3.0
"""What a step keeps for the gradients of a loss of forces, relative to what an evaluation keeps for its forces.

Measured at the peak of a step of the ``small`` preset: 2.9 (rock salt, 216 atoms), 2.8 (silicon, 1,000 atoms), and 2.2
without line attention; 3.5 of ``10m``, whose parameters' gradients are among it.
"""


class WithinMemory:
    """An engine that keeps everything where that fits, and recomputes as many blocks as it must where it does not."""

    def __init__(self, model: MatRISMoE, gigabytes: float) -> None:
        self._model = model
        self._bytes = gigabytes * 1e9
        self._plain = PlainDerivatives(model)
        self._recomputing = RecomputingDerivatives(model, self._bytes / TRAINING_FACTOR)

    def __call__(self, inputs: Inputs) -> Derivatives:
        slots = sum(table.numel() for table in inputs.neighbours)
        fits = training_bytes(self._model, slots) <= self._bytes
        return self._plain(inputs) if fits else self._recomputing(inputs)


def training_bytes(model: MatRISMoE, slots: int) -> float:
    """Estimate of what a training step keeps of a batch with so many edges, padding included."""
    return TRAINING_FACTOR * activations(model, slots)
