"""Model folders: what is written comes back bit for bit; damage is named."""

from __future__ import annotations

import json

import pytest
import torch

from janus_md.errors import UserError
from janus_md.model import MatRISMoE, load_model, preset, save_model


@pytest.fixture
def saved(tmp_path):
    model = MatRISMoE(preset("tiny", elements=["Si", "O"], tasks=["a", "b"]))
    model.set_statistics({("b", "Si"): -1.0 / 3.0}, 0.7, 20.0, 9.0)
    save_model(model, tmp_path / "model")
    return model, tmp_path / "model"


def test_round_trip_is_exact(saved) -> None:
    model, folder = saved
    again = load_model(folder)
    assert again.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert again.heads["energy"].references.table.dtype == torch.float64


def test_reference_energies_stay_exact_in_single_precision(saved) -> None:
    model, _ = saved
    assert float(model.float().heads["energy"].references.table[1, 1]) == -1.0 / 3.0


def test_missing_and_truncated_files_are_named(saved) -> None:
    _, folder = saved
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    for length in (0, 5, 1000, len(whole) - 1):
        weights.write_bytes(whole[:length])
        with pytest.raises(
            UserError, match=r"model\.safetensors is damaged or cut off: restore it"
        ):
            load_model(folder)
    weights.write_bytes(whole)
    description = folder / "model.json"
    text = description.read_text()
    for content in (text[: len(text) // 2], "[]", text.replace('"width"', '"breadth"')):
        description.write_text(content)
        with pytest.raises(UserError, match=r"model\.json is damaged or cut off: restore it"):
            load_model(folder)
    description.write_text(text)
    weights.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        load_model(folder)


@pytest.mark.parametrize(("version", "remedy"), [(99, "update janus-md"), (1, "train the model")])
def test_other_formats_are_refused(saved, version, remedy) -> None:
    _, folder = saved
    description = json.loads((folder / "model.json").read_text())
    description["format_version"] = version
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match=remedy):
        load_model(folder)
