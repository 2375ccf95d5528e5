"""What a step frees stays with the process for the next one."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of ``mallopt`` in glibc's ``malloc.h``."""

LARGEST_KEPT = 2**26
"""Bytes; larger pieces are asked of the system one by one, so that they leave no gaps when they are freed."""


def keep_freed_memory() -> None:
    """Ask the C library not to give freed memory back to the system, until the process ends.

    The system clears each page before it gives it again, which takes a tenth of a training step on a CPU. Does nothing
    where the library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, -1)
