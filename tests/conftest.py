"""The longest file goes first, so that the other worker does the rest meanwhile; kernels run without a GPU, too."""

import os

import pytest
import torch

# Triton decides at its import whether its functions are compiled or interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

LONGEST = "test_energy_conservation"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST not in item.nodeid)
