"""What merging experts takes of memory, said before it is taken."""

from __future__ import annotations

from torch import nn

from janus_md.errors import UserError
from janus_md.model import MatRISMoE
from janus_md.model.experts import ExpertMLP
from janus_md.process_memory import free_memory

DOUBLE = 8
"""Bytes of a number: experts are merged in float64."""


def refuse_beyond_memory(model: MatRISMoE, elements: int) -> None:
    """Raise ``UserError`` where merging the experts of so many elements takes more memory than is free.

    A model that is on the meta device, where it takes none, counts as one still to be made.
    """
    fixed, each = bytes_to_merge(model)
    needed, free = fixed + elements * each, free_memory()
    if needed <= free:
        return
    fitting = (free - fixed) // each if each else 0
    advice = (
        f"name no more than {fitting} of them with --elements"
        if fitting > 0
        else "take a machine with more memory"
    )
    raise UserError(
        f"merging the experts of {elements} elements takes about {needed / 1e9:.3g} GB of memory, "
        f"of which {free / 1e9:.3g} GB are free: {advice}"
    )


def bytes_to_merge(model: MatRISMoE) -> tuple[int, int]:
    """Of the model and its merged copy in float64: whatever the elements, and for each of them."""
    numbers, layers = 2 * _size(model), [0]
    for layer in model.modules():
        if isinstance(layer, ExpertMLP) and layer.routed is not None:
            numbers -= _size(layer)
            one_expert = sum(weight[0].numel() for weight in (layer.routed.w1, layer.routed.w2))
            shared = _size(layer.shared) if layer.shared is not None else 0
            layers.append(layer.routed.router.top_k * one_expert + shared)
    to_be_made = sum(parameter.nbytes for parameter in model.parameters() if parameter.is_meta)
    # While a layer's experts are stacked, they exist up to three times.
    return to_be_made + DOUBLE * numbers, DOUBLE * (sum(layers) + 2 * max(layers))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
