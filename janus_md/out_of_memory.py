"""More memory asked for than the device has: one sentence on what to ask less of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from janus_md.errors import UserError

ALLOCATORS = "can't allocate memory", "not enough memory", "out of memory"
"""What torch's allocators say; only that of a GPU has an exception of its own."""


@contextmanager
def within_memory(device: torch.device, what: str, advice: str) -> Iterator[None]:
    """Make a ``UserError`` of an allocation that ``device`` refuses to ``what``, with ``advice``."""
    try:
        yield
    except RuntimeError as fault:
        if not is_out_of_memory(fault):
            raise
        raise UserError(f"{what} needs more memory than {device} has: {advice}") from fault


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether ``fault`` is that of an allocator of torch."""
    if isinstance(fault, torch.OutOfMemoryError):
        return True
    return isinstance(fault, RuntimeError) and any(words in str(fault) for words in ALLOCATORS)
