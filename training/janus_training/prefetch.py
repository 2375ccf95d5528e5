"""Batches prepared ahead of the step."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

import torch

Item = TypeVar("Item")


def prefetch(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """The items of ``source``, made up to ``depth`` ahead by a background thread.

    Order and content are those of ``source``; an exception in it is raised here in its turn. Closing
    the iterator ends the thread, which computes without helpers: where there are more OpenMP threads than
    cores, libgomp lets all of them sleep between parallel regions, and waking them costs more than they gain.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None]) -> None:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        torch.set_num_threads(1)  # a second team of threads would keep the step's from spinning
        try:
            for item in source:
                put((item, None))
                if stopped.is_set():
                    return
            put((None, StopIteration()))
        except BaseException as fault:
            put((None, fault))

    thread = threading.Thread(target=work, daemon=True, name="batches")
    thread.start()
    try:
        while True:
            item, fault = ready.get()
            if isinstance(fault, StopIteration):
                return
            if fault is not None:
                raise fault
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
