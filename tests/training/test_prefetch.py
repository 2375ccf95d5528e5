"""Batches prepared ahead."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from janus_training.prefetch import prefetch


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_items_come_in_order() -> None:
    assert list(prefetch(iter(range(20)), 3)) == list(range(20))


def test_a_fault_is_raised_after_what_came_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = prefetch(broken(), 2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_closing_ends_the_thread() -> None:
    with closing(prefetch(itertools.count(), 1)) as items:
        next(items)
        assert _threads() == 1
    assert _threads() == 0


def _threads() -> int:
    return sum(thread.name == "batches" for thread in threading.enumerate())


@pytest.mark.usefixtures("two_threads")
def test_the_step_keeps_its_threads_to_itself() -> None:
    """A second team of OpenMP threads made steps of two threads slower than of one."""
    made = (torch.get_num_threads() for _ in range(2))
    assert list(prefetch(made, 1)) == [1, 1]
    assert torch.get_num_threads() == 2
