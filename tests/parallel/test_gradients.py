"""Every layout of ranks has the gradients of one process."""

from typing import Any

import pytest
import torch
from parallel_support import on_ranks
from parallel_support.gradients import DENSE, differences

ALL = [0, 1, 2, 3]
LAYOUTS = {
    "replicas": (1, False, {}),
    "parameters": (4, False, {"shard_experts": False}),
    "experts": (4, False, {"shard_parameters": False}),
    "graphs": (4, True, {"shard_parameters": False, "shard_experts": False}),
    "all three": (4, True, {}),
    "all three, restored in each phase": (4, True, {"regather": True}),
    "two units": (2, True, {}),
    "without overlap": (4, True, {"overlap": False, "regather": True}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fields", [{}, DENSE | {"line_blocks": 0}], ids=["moe", "dense"])
def test_gradients_on_four_ranks(layout: str, fields: dict[str, Any]) -> None:
    unit, divide, parallel = LAYOUTS[layout]
    for found in on_ranks(4, differences, torch.float64, fields, unit, divide, ALL, 0, parallel):
        assert max(found.values()) < 1e-10, found
