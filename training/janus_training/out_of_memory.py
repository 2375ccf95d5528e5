"""A step that needs more memory than the device has: one sentence on what to ask less of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from janus_md.errors import UserError

ALLOCATORS = "can't allocate memory", "not enough memory", "out of memory"
"""What torch's allocators say; only that of a GPU has an exception of its own."""


@contextmanager
def within_memory(device: torch.device) -> Iterator[None]:
    """Make a ``UserError`` of an allocation that ``device`` refuses."""
    try:
        yield
    except RuntimeError as fault:
        if not is_out_of_memory(fault):
            raise
        raise UserError(
            f"a batch needs more memory than {device} has: lower batch.structures, batch.atoms or batch.edges, "
            "recompute blocks with train.memory=GB, or share graphs among more ranks with parallel.unit"
        ) from fault


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether ``fault`` is that of an allocator of torch."""
    if isinstance(fault, torch.OutOfMemoryError):
        return True
    return isinstance(fault, RuntimeError) and any(words in str(fault) for words in ALLOCATORS)
