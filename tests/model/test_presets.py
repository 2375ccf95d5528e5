"""Presets, parameter counts, configuration errors."""

from __future__ import annotations

import pytest
import torch

from janus_md.errors import UserError
from janus_md.export.write import active_parameters
from janus_md.model import PRESETS, MatRISMoE, preset

PAPER = {"moe-s": (1.09e9, 0.19e9, 4), "moe-m": (2.47e9, 0.56e9, 8), "moe-l": (11.5e9, 2.89e9, 16)}


def on_meta(name: str) -> MatRISMoE:
    with torch.device("meta"):
        return MatRISMoE(preset(name))


@pytest.mark.parametrize("name", PAPER)
def test_paper_sizes_within_two_percent(name: str) -> None:
    total, active, top_k = PAPER[name]
    model = on_meta(name)
    assert abs(sum(p.numel() for p in model.parameters()) / total - 1) < 0.02
    assert abs(active_parameters(model) / active - 1) < 0.02
    assert model.config.top_k == top_k
    assert model.config.blocks == 6


@pytest.mark.parametrize(("name", "size"), [("small", 1.0e6), ("10m", 10.0e6)])
def test_laptop_sizes_within_ten_percent(name: str, size: float) -> None:
    assert abs(active_parameters(on_meta(name)) / size - 1) < 0.1


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_consistent(name: str) -> None:
    assert preset(name, cutoff=5.0).cutoff == 5.0


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(UserError, match="did you mean 'small'"):
        preset("smal")
    with pytest.raises(UserError, match=r"did you mean 'model\.line_cutoff'"):
        preset("small", line_cutof=3.0)
    with pytest.raises(UserError, match="line_cutoff must not exceed cutoff"):
        preset("small", line_cutoff=7.0)
    with pytest.raises(UserError, match="'Xx' is not a chemical symbol"):
        preset("small", elements=["Si", "Xx"])
