"""Exchanges between ranks under first and second derivatives."""

import pytest
from parallel_support import on_ranks
from parallel_support.collectives import check_all


@pytest.mark.parametrize("size", [2, 4])
def test_collectives_differentiate_twice(size: int) -> None:
    on_ranks(size, check_all)
