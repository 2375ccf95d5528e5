"""Structures and labels from files: extxyz and all ASE reads, ASE databases, DeePMD folders, pymatgen."""

from janus_md.io.ase_labels import LabelKeys, frame_from_atoms
from janus_md.io.frames import Frame, check
from janus_md.io.isolated import read_isolated_atoms
from janus_md.io.pymatgen import atoms_from_pymatgen, pymatgen_from_atoms
from janus_md.io.read import iterate_frames, read_frames
from janus_md.io.write import write_frames

__all__ = [
    "Frame",
    "LabelKeys",
    "atoms_from_pymatgen",
    "check",
    "frame_from_atoms",
    "iterate_frames",
    "pymatgen_from_atoms",
    "read_frames",
    "read_isolated_atoms",
    "write_frames",
]
