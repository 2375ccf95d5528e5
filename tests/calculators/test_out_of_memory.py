"""Allocators' errors as a user meets them."""

from __future__ import annotations

import pytest
import torch

from janus_md.errors import UserError
from janus_md.out_of_memory import within_memory

REFUSED = torch.device("cpu"), "a batch", "lower batch.structures"


def test_an_allocation_that_is_refused_says_what_to_ask_less_of() -> None:
    with (
        pytest.raises(UserError, match=r"more memory than cpu has: lower batch\.structures"),
        within_memory(*REFUSED),
    ):
        torch.empty(2**55)


def test_so_does_that_of_a_gpu() -> None:
    with (
        pytest.raises(UserError, match="more memory than cpu has"),
        within_memory(*REFUSED),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_other_errors_stay() -> None:
    with (
        pytest.raises(RuntimeError, match="size mismatch"),
        within_memory(*REFUSED),
    ):
        raise RuntimeError("size mismatch")
