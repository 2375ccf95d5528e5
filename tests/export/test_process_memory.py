"""What a process may take is less than the machine's where a batch system or a container says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from janus_md.process_memory import free_memory, memory_limit

GB = 10**9


def machine(root: Path, membership: str, available_kb: int = 8_000_000) -> Path:
    write(
        root / "proc/meminfo",
        f"MemTotal: 9000000 kB\nMemAvailable: {available_kb} kB\nHugePages_Free: 0",
    )
    write(root / "proc/self/cgroup", membership)
    return root


def write(path: Path, text: str | int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def unified(folder: Path, limit: str | int, taken: int, cached: int = 0) -> None:
    write(folder / "memory.max", limit)
    write(folder / "memory.current", taken)
    write(folder / "memory.stat", f"anon 1\ninactive_file {cached}")


def test_without_control_groups_it_is_what_the_kernel_says_is_free(tmp_path: Path) -> None:
    assert free_memory(machine(tmp_path, "0::/")) == 1024 * 8_000_000


def test_without_a_kernel_that_says_so_it_is_the_whole_machine(tmp_path: Path) -> None:
    assert free_memory(tmp_path) == memory_limit(tmp_path) > 0


def test_the_tightest_group_above_the_process_counts(tmp_path: Path) -> None:
    """Slurm limits the job; the step, which the process is in, has no limit of its own."""
    root = machine(tmp_path, "0::/system.slice/job_7/step_0")
    job = root / "sys/fs/cgroup/system.slice/job_7"
    unified(job, 3 * GB, 1 * GB)
    unified(job / "step_0", "max", 1 * GB)
    unified(job.parent, 2 * GB * 10**3, 0)
    unified(root / "sys/fs/cgroup/elsewhere", 1, 1)
    assert free_memory(root) == 2 * GB
    assert memory_limit(root) == 3 * GB


def test_files_that_nobody_has_touched_lately_are_free(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/")
    unified(root / "sys/fs/cgroup", 3 * GB, int(2.5 * GB), cached=2 * GB)
    assert free_memory(root) == int(2.5 * GB)


def test_a_container_that_sees_the_path_outside_of_it_has_its_own_limit(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/docker/0123abc")
    unified(root / "sys/fs/cgroup", 1 * GB, 2 * GB)
    assert (free_memory(root), memory_limit(root)) == (0, 1 * GB)


@pytest.mark.parametrize("controllers", ["memory", "hugetlb,memory"])
def test_groups_of_the_first_version(tmp_path: Path, controllers: str) -> None:
    root = machine(tmp_path, f"5:cpu,cpuacct:/slurm/job\n4:{controllers}:/slurm/job\n0::/")
    for folder, limit in (("", 2**63 - 4096), ("slurm", 2**63 - 4096), ("slurm/job", 2 * GB)):
        group = root / "sys/fs/cgroup/memory" / folder
        write(group / "memory.limit_in_bytes", limit)
        write(group / "memory.usage_in_bytes", int(1.5 * GB))
        write(group / "memory.stat", f"inactive_file 5\ntotal_inactive_file {GB}")
    assert free_memory(root) == int(1.5 * GB)
    assert memory_limit(root) == 2 * GB
