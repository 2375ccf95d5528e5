"""Steps after the first ones ask the system for no memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from janus_training import freed_memory

STEPS = """
import resource, sys
import torch
from janus_training.freed_memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
for step in range(8):
    kept = [torch.ones(2**20) for _ in range(20)]
    if step == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(way: str) -> int:
    done = subprocess.run([sys.executable, "-c", STEPS, way], capture_output=True, text=True)
    return int(done.stdout)


def test_pages_are_not_asked_for_again() -> None:
    """80 MB a step are 20,000 pages."""
    import ctypes

    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("the C library is not glibc")
    assert faults("keep") < 2_000


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda _: object())
    freed_memory.keep_freed_memory()
