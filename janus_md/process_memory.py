"""How much memory this process may take: the machine's, or what Slurm or a container allows it in a control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")


class ControlGroup(NamedTuple):
    """Bytes that the processes of a group may take, and that they have taken."""

    limit: int
    taken: int


def memory_limit(root: Path = ROOT) -> int:
    """Bytes that this process could have, were nothing else running.

    ``root`` is where ``proc`` and ``sys`` are.
    """
    return min([_all_memory(), *(group.limit for group in _control_groups(root))])


def free_memory(root: Path = ROOT) -> int:
    """Bytes that this process can still take; all of the machine's, where the kernel does not say what is free."""
    left = (max(0, group.limit - group.taken) for group in _control_groups(root))
    return min([_table(root / "proc/meminfo").get("MemAvailable:", _all_memory()), *left])


def _all_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _control_groups(root: Path) -> Iterator[ControlGroup]:
    """Those with a limit that this process is in: its own and all above it, of either version (cgroups(7))."""
    membership = root / "proc/self/cgroup"
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(top) and (folder / names[0]).exists():
                yield from _limited(folder, *names)


def _limited(folder: Path, limit: str, taken: str, cached: str) -> Iterator[ControlGroup]:
    bound = (folder / limit).read_text().strip()
    if bound != "max":
        # Pages of files that nobody has touched lately count as taken, yet the kernel gives them up.
        reclaimable = _table(folder / "memory.stat").get(cached, 0)
        yield ControlGroup(int(bound), int((folder / taken).read_text()) - reclaimable)


def _table(path: Path) -> dict[str, int]:
    """Names and bytes of a table of the kernel; none where there is no such file."""
    lines = path.read_text().splitlines() if path.exists() else ()
    return {
        name: int(value) * (1024 if unit else 1) for name, value, *unit in map(str.split, lines)
    }
