"""Every layout of ranks has the gradients of one process, and ends at its weights."""

from typing import Any

import pytest
from parallel_support.gradients import DENSE, differences_in_layouts

from janus_training.parallel.processes import on_ranks

NO_LINE = {"line_blocks": 0}
# Unit, whether graphs are divided, and the recipe's part `parallel`.
OF_FOUR = {
    "replicas": (1, False, {}),
    "replicas without overlap": (1, False, {"overlap": False}),
    "parameters": (4, False, {"shard_experts": False}),
    "experts": (4, False, {"shard_parameters": False}),
    "graphs": (4, True, {"shard_parameters": False, "shard_experts": False}),
    "all three": (4, True, {}),
    "all three, recomputed": (4, True, {"recompute": True}),
    "all three, restored in each phase": (4, True, {"regather": True}),
    "all three, without overlap": (4, True, {"overlap": False, "regather": True}),
    "two units": (2, True, {}),
    "two units of whole graphs": (2, False, {"regather": True}),
}
OF_TWO = {
    "replicas": (1, False, {}),
    "all three": (2, True, {}),
    "whole graphs": (2, False, {"regather": True}),
}


@pytest.mark.parametrize("fields", [{}, NO_LINE, DENSE], ids=["moe", "narrow rows", "dense"])
@pytest.mark.parametrize(("size", "layouts"), [(4, OF_FOUR), (2, OF_TWO)], ids=["4", "2"])
def test_gradients(size: int, layouts: dict[str, Any], fields: dict[str, Any]) -> None:
    for found in on_ranks(size, differences_in_layouts, "float64", fields, layouts, [0, 1, 2, 3]):
        for layout, differences in found.items():
            name = max(differences, key=differences.get)  # type: ignore[arg-type]
            assert differences[name] < 1e-10, (layout, name, differences[name])


@pytest.mark.parametrize("fields", [NO_LINE, DENSE | NO_LINE], ids=["moe", "dense"])
def test_gradients_in_single_precision(fields: dict[str, Any]) -> None:
    layouts = {"all three": (2, True, {}), "whole graphs": (4, False, {"regather": True})}
    for found in on_ranks(4, differences_in_layouts, "float32", fields, layouts, [0, 1, 2, 3]):
        for layout, differences in found.items():
            for name, difference in differences.items():
                assert difference < 1e-5, (layout, name, difference)


def test_experts_that_travel_as_16_bit_floats_change_a_per_cent_at_most() -> None:
    """Of a parameter's largest entry; and they do change something, so that they did travel so."""
    layouts = {"half": (4, False, {"compress_experts": "fp16"})}
    for found in on_ranks(4, differences_in_layouts, "float64", {}, layouts, [0, 1, 2, 3]):
        assert 1e-6 < max(found["half"].values()) < 2e-2


def test_a_batch_smaller_than_the_ranks() -> None:
    """Three ranks have nothing at all, and no elements to restore experts for."""
    layouts = {"all three": (4, False, {}), "replicas": (1, False, {}), "graphs": (2, True, {})}
    for found in on_ranks(4, differences_in_layouts, "float64", NO_LINE, layouts, [1]):
        for layout, differences in found.items():
            assert max(differences.values()) < 1e-10, layout


@pytest.mark.parametrize(("method", "steps"), [("muon", 10), ("soap", 25), ("adamw", 10)])
def test_some_steps_end_at_the_same_weights(method: str, steps: int) -> None:
    """Of SOAP's the last ones are taken in bases that two iterations turned."""
    layouts = {"all three": (2, True, {"regather": True}), "replicas": (1, False, {})}
    for found in on_ranks(
        4, differences_in_layouts, "float64", NO_LINE, layouts, [0, 1, 2, 3], steps, method
    ):
        for layout, differences in found.items():
            assert max(differences.values()) < 1e-7, layout
