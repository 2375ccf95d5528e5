"""Ours: the ``10m`` preset, dense, random weights, float32: energy and forces of rattled rock salt."""

from __future__ import annotations

import sys

import torch
from measure import report
from structures import rattled_salt

from janus_md.graph import batch_graphs, build_graph
from janus_md.model import MatRISMoE, predict, preset

torch.manual_seed(0)
torch.set_num_threads(int(sys.argv[1]))
model = MatRISMoE(preset("10m")).eval().requires_grad_(False)
config = model.config
report(
    lambda: batch_graphs([build_graph(rattled_salt(), config.cutoff, config.line_cutoff)]),
    lambda batch: predict(model, batch),
    repeats=int(sys.argv[2]),
)
