"""Fetch the public labelled structures that the benchmarks use, and write them as extxyz.

    python benchmarks/public_data.py -o ../shared/data
    python benchmarks/public_data.py --clones FOLDER -o ../shared/data      # without a network

Each file comes from one commit of its repository (README.md beside this file has sizes and licences). With
``--clones``, it is read from a checkout FOLDER/REPOSITORY instead. What is there already stays as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import ase
import numpy as np

from janus_md.errors import UserError
from janus_md.io import Frame, read_frames, write_frames

COMMITS = {
    "materialsvirtuallab/mlearn": "10c427a5480c6281c15c64efaf869b03be04818f",
    "davkovacs/BOTNet-datasets": "29e6d467317e4b5967b7ea5cbee54de953fa0d45",
    "microsoft/mattersim": "296630372948fd35613939d14d3f97daa27cefda",
}
MLEARN, BOTNET, MATTERSIM = COMMITS
Read = Callable[[str, str], bytes]
"""Repository, path in it → content of the file."""
Make = Callable[[Read], list[Frame]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--clones", type=Path, metavar="FOLDER", help="checkouts, one a repository")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    read = download if options.clones is None else from_clones(options.clones)
    try:
        for name, make in FILES.items():
            path = options.output / f"{name}.extxyz"
            if path.exists():
                print(f"{path} is there already")
                continue
            frames = make(read)
            write_frames(path, frames)
            print(f"{path}: {len(frames)} frames")
    except UserError as error:
        sys.exit(f"public_data.py: {error}")


@cache  # two files are made of one
def download(repository: str, path: str) -> bytes:
    url = f"https://raw.githubusercontent.com/{repository}/{COMMITS[repository]}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.read()
    except OSError as error:
        raise UserError(
            f"{url} cannot be fetched ({error}); clone {repository} and give --clones FOLDER"
        ) from None


def from_clones(folder: Path) -> Read:
    def read(repository: str, path: str) -> bytes:
        file = folder / repository.partition("/")[2] / path
        if not file.is_file():
            raise UserError(
                f"{file} does not exist; --clones wants a checkout of {repository} there"
            )
        return file.read_bytes()

    return read


def mlearn(element: str, part: str) -> Make:
    """Structures of pymatgen's JSON with energies in eV and forces in eV/Å."""

    def make(read: Read) -> list[Frame]:
        return [_labelled(one) for one in json.loads(read(MLEARN, f"data/{element}/{part}.json"))]

    return make


def _labelled(entry: dict[str, Any]) -> Frame:
    structure, labels = entry["structure"], entry["outputs"]
    atoms = ase.Atoms(
        [site["species"][0]["element"] for site in structure["sites"]],
        [site["xyz"] for site in structure["sites"]],
        cell=structure["lattice"]["matrix"],
        pbc=True,
    )
    return Frame(atoms, energy=labels["energy"], forces=np.array(labels["forces"]))


def xyz(repository: str, path: str, chosen: Callable[[int], bool] = lambda place: True) -> Make:
    """Those of a file's frames whose place in it is ``chosen``."""

    def make(read: Read) -> list[Frame]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "frames.extxyz"
            file.write_bytes(read(repository, path))
            frames = read_frames(file)
        return [_bare(frame) for place, frame in enumerate(frames) if chosen(place)]

    return make


def _bare(frame: Frame) -> Frame:
    """Without what the file says besides; a box that is not periodic means nothing."""
    frame.atoms.info = {}
    if not frame.atoms.pbc.any():
        frame.atoms.cell = None
    return frame


FILES = {
    **{
        f"mlearn/{element}-{part[:5]}": mlearn(element, part)
        for element in ("Si", "Li", "Mo")
        for part in ("training", "test")
    },
    "molecules/3bpa-train": xyz(BOTNET, "dataset_3BPA/train_300K.xyz", lambda i: i % 5 != 4),
    "molecules/3bpa-test": xyz(BOTNET, "dataset_3BPA/train_300K.xyz", lambda i: i % 5 == 4),
    "molecules/3bpa-isolated-atoms": xyz(BOTNET, "dataset_3BPA/iso_atoms.xyz"),
    "molecules/ethanol-train": xyz(BOTNET, "dataset_ethanol/train.xyz", lambda i: i < 500),
    "molecules/ethanol-test": xyz(BOTNET, "dataset_ethanol/test_MD.xyz", lambda i: i % 4 == 0),
    "molecules/ethanol-isolated-atoms": xyz(BOTNET, "dataset_ethanol/isolated_atoms.xyz"),
    "hot-crystals-1k": xyz(MATTERSIM, "data/benchmarks/mpf-TP.xyz"),
    "mptrj-1k": xyz(MATTERSIM, "data/benchmarks/mptrj-random-1k.xyz"),
    "alexandria-1k": xyz(MATTERSIM, "data/benchmarks/alexandria-random-1k.xyz"),
}
"""Name → how its frames are made."""


if __name__ == "__main__":
    main()
