"""Several ranks on this machine for the time of one function."""

from __future__ import annotations

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

MODULES = ["torch", "torch._dynamo", "janus_training.loop"]
"""Imported once for all; the second, which torch's optimisers import, takes as long as the rest together."""

PATIENCE_S = 600


def on_ranks(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """``function(*arguments)`` on ``size`` processes connected by gloo, one thread each; what each returned, in order.

    ``function`` must be importable. Raises ``RuntimeError`` with the rank's traceback where one fails.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(MODULES)
    results = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        given = (size, f"{folder}/store", results, function, arguments)
        processes = [context.Process(target=_enter, args=(rank, *given)) for rank in range(size)]
        for process in processes:
            process.start()
        found = [results.get(timeout=PATIENCE_S) for _ in range(size)]
        for process in processes:
            process.join()
    faults = [fault for _, fault, _ in found if fault]
    if faults:
        raise RuntimeError("\n".join(faults))
    return [value for _, _, value in sorted(found, key=lambda entry: entry[0])]


def _enter(
    rank: int, size: int, store: str, results: Any, function: Callable[..., Any], arguments: Any
) -> None:
    torch.set_num_threads(1)
    fault, value = None, None
    dist.init_process_group("gloo", store=dist.FileStore(store, size), rank=rank, world_size=size)
    dist.barrier()  # what is timed begins at once
    try:
        value = function(*arguments)
    except BaseException:
        fault = f"rank {rank}:\n{traceback.format_exc()}"
    results.put((rank, fault, value))
    if fault is None:
        dist.destroy_process_group()
