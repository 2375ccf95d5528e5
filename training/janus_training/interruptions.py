"""A signal to end a run: the step under way is finished and saved before."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SECONDS_TO_INSIST = 1.0
"""A signal so much later than the first is another one."""


@contextmanager
def interruptions() -> Iterator[list[float]]:
    """A list that SIGINT and SIGTERM append to, so that a step is finished and saved before the end.

    Who insists ends it at once. One key pressed may arrive twice: from the terminal and from the launcher.
    """
    received: list[float] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(time.monotonic())
        if received[-1] - received[0] > SECONDS_TO_INSIST:
            raise KeyboardInterrupt

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: there are no signals to take over
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
