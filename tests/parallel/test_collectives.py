"""Exchanges between ranks under first and second derivatives."""

import pytest
from parallel_support.collectives import check_all, half_precision

from janus_training.parallel.processes import on_ranks


@pytest.mark.parametrize("size", [2, 4])
def test_collectives_differentiate_twice(size: int) -> None:
    on_ranks(size, check_all)


def test_half_precision_is_relative_to_each_row() -> None:
    """Rows of very different size keep three digits, forward and in derivatives."""
    for found in on_ranks(2, half_precision):
        assert all(0.0 < error < 3e-3 for error in found)
