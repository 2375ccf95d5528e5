"""Which GPU of its node a rank takes: the launcher's number of the rank, also where LAMMPS has part of the ranks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from janus_md.lammps.build import mpi_file, mpi_include
from janus_md.lammps.plugin_path import source_folder

# Four ranks in two parts, as `-partition 2x2` makes them.
PROGRAM = """
#include "local_rank.h"
#include <cstdio>

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm part;
  MPI_Comm_split(MPI_COMM_WORLD, rank / 2, rank, &part);
  std::printf("%d\\n", janus::local_rank(part));
  MPI_Finalize();
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("local-rank")
    (folder / "main.cpp").write_text(PROGRAM)
    sources, mpi = source_folder() / "src", mpi_file("libmpi.so")
    subprocess.run(
        [compiler, "-std=c++20", f"-I{sources}", f"-I{mpi_include()}", str(folder / "main.cpp"),
         str(sources / "local_rank.cpp"), str(mpi), f"-Wl,-rpath,{mpi.parent}",
         "-o", str(folder / "numbers")],
        check=True,
    )  # fmt: skip
    return folder / "numbers"


def numbers(program: Path, *environment: str) -> list[str]:
    """What the four ranks find, with a changed environment."""
    line = [str(mpi_file("mpirun")), "-n", "4", "env", *environment, str(program)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    return sorted(done.stdout.split())


def test_the_launchers_numbers(program: Path) -> None:
    assert numbers(program) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("left", [[], ["SLURM_LOCALID=0"]], ids=["nothing", "slurm-script"])
def test_without_them_ranks_are_counted(left: list[str], program: Path) -> None:
    """A batch script's own number, which mpirun hands down to all ranks, is none."""
    assert numbers(program, "-u", "MPI_LOCALRANKID", *left) == ["0", "0", "1", "1"]
