"""MatRIS 0.9 (PyPI ``matris``) with random weights and its defaults: energy and forces of rattled rock salt.

A third argument ``recompute`` makes it recompute its blocks, which it otherwise does for many angles only.
"""

from __future__ import annotations

import contextlib
import sys

import torch
from matris.model import interaction_block
from matris.model.model import MatRIS
from measure import report
from pymatgen.io.ase import AseAtomsAdaptor
from structures import rattled_salt

torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[1]))
if sys.argv[3:] == ["recompute"]:
    interaction_block.THRESHOLD_VALUE = 0
with contextlib.redirect_stdout(sys.stderr):
    model = MatRIS()
structure = AseAtomsAdaptor.get_structure(rattled_salt())
report(
    lambda: model.graph_converter(structure),
    lambda graph: model([graph], task="ef", is_training=False),
    repeats=int(sys.argv[2]),
)
