"""Exported files: the same numbers as the model, a manifest, and refusals."""

from __future__ import annotations

import copy
import json
import re
import zipfile

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from janus_md.errors import UserError
from janus_md.export import export_model, load_exported, memory, merge_experts, write
from janus_md.export.manifest import read_manifest
from janus_md.graph import batch_graphs, build_graph
from janus_md.model import MatRISMoE, derivatives, predict, preset
from janus_md.model.experts import MergedMLP


@pytest.fixture
def model() -> MatRISMoE:
    torch.manual_seed(1)
    config = preset(
        "tiny", elements=["H", "O", "Na", "Cl"], tasks=["pbe", "r2scan"], composition=True
    )
    return MatRISMoE(config).double()


def batch_of(model: MatRISMoE, *structures):
    config = model.config
    return batch_graphs(
        [build_graph(atoms, config.cutoff, config.line_cutoff) for atoms in structures],
        task=[1] * len(structures),
    )


@pytest.mark.parametrize(("precision", "bound"), [("double", 1e-10), ("single", 1e-4)])
def test_exported_file_gives_the_models_numbers(model, tmp_path, precision, bound) -> None:
    path = tmp_path / "m.janus.pt"
    manifest = export_model(model, path, precision=precision)
    assert manifest.elements == ["H", "O", "Na", "Cl"]
    assert manifest.tasks == ["pbe", "r2scan"]
    potential = load_exported(path)
    assert potential.manifest == manifest
    salt = bulk("NaCl", "rocksalt", a=5.5, cubic=True)
    salt.rattle(0.1, seed=0)
    batch = batch_of(model, salt, molecule("H2O"))
    expected = predict(model, batch)
    for _ in range(4):  # TorchScript may specialise after its first calls
        found = predict(potential.module, batch)
        np.testing.assert_allclose(found.energies.numpy(), expected.energies.numpy(), atol=bound)
        np.testing.assert_allclose(found.forces.numpy(), expected.forces.numpy(), atol=bound)


def test_subset_of_elements_is_smaller_and_exact(model, tmp_path) -> None:
    export_model(model, tmp_path / "all.janus.pt", precision="double")
    export_model(model, tmp_path / "two.janus.pt", ["O", "H"], precision="double")
    assert (tmp_path / "two.janus.pt").stat().st_size < (tmp_path / "all.janus.pt").stat().st_size
    water = batch_of(model, molecule("H2O"))
    # The composition embedding keeps its meaning although the columns of other elements are gone.
    found = predict(load_exported(tmp_path / "two.janus.pt").module, water)
    assert abs(float(found.energy[0] - predict(model, water).energy[0])) < 1e-10
    with pytest.raises(UserError, match="does not know the element Na: it was made for H, O"):
        predict(
            load_exported(tmp_path / "two.janus.pt").module, batch_of(model, bulk("Na", cubic=True))
        )


def test_a_merged_model_has_groups_for_its_elements_alone(model) -> None:
    merged = merge_experts(model, ["O", "H"])
    assert merged.geometry.num_elements == merged.num_elements == 2


def test_unknown_element_and_existing_file(model, tmp_path) -> None:
    path = tmp_path / "m.janus.pt"
    for elements in (["Fe"], ["Foo"], ["H", "h"]):
        words = f"does not know the element {elements[-1]}"
        with pytest.raises(UserError, match=words):
            export_model(model, path, elements)
    path.write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        export_model(model, path)
    assert path.read_text() == "mine"


def an_expert(merged: MatRISMoE) -> None:
    merged.blocks[1].experts.w2[..., 0] += 0.1


def the_second_task(merged: MatRISMoE) -> None:
    merged.embedding.task.weight[1] += 0.1


def the_charge(merged: MatRISMoE) -> None:
    merged.embedding.charge[0].weight += 0.5


def the_spin(merged: MatRISMoE) -> None:
    merged.embedding.spin[0].weight += 0.5


@pytest.mark.parametrize("spoil", [an_expert, the_second_task, the_charge, the_spin])
def test_a_file_that_disagrees_is_never_written(model, tmp_path, monkeypatch, spoil) -> None:
    def spoilt(model, elements=None):
        merged = exact(model, elements)
        spoil(merged)
        return merged

    if spoil in (the_charge, the_spin):
        model = MatRISMoE(model.config.model_copy(update={"charge": True, "spin": True})).double()
    exact = write.merge_experts
    monkeypatch.setattr(write, "merge_experts", spoilt)
    with pytest.raises(UserError, match="disagrees with the checkpoint"):
        export_model(model, tmp_path / "m.janus.pt")
    assert list(tmp_path.iterdir()) == []


def test_more_than_the_memory_that_is_free_is_refused_before_it_is_taken(
    model, tmp_path, monkeypatch
) -> None:
    """It ended with the process killed: a merged model has a perceptron for each element, a routed one has not."""
    fixed, each = memory.bytes_to_merge(model)
    monkeypatch.setattr(memory, "free_memory", lambda: fixed + 2 * each)
    words = "experts of 4 elements takes about .* GB .* are free: name no more than 2 of them"
    with pytest.raises(UserError, match=words):
        export_model(model, tmp_path / "m.janus.pt")
    assert list(tmp_path.iterdir()) == []
    export_model(model, tmp_path / "m.janus.pt", ["H", "O"])
    monkeypatch.setattr(memory, "free_memory", lambda: fixed)
    with pytest.raises(UserError, match="take a machine with more memory"):
        export_model(model, tmp_path / "one.janus.pt", ["H"])


def test_memory_is_that_of_the_model_and_its_merged_copy(model) -> None:
    fixed, each = memory.bytes_to_merge(model)
    layers = [layer for layer in merge_experts(model).modules() if isinstance(layer, MergedMLP)]
    sizes = [sum(w.nbytes for w in layer.parameters()) / 4 for layer in layers]
    assert each == sum(sizes) + 2 * max(sizes)
    routed = sum(p.nbytes for p in model.parameters())
    assert routed < fixed < 2 * routed


def test_export_leaves_the_model_alone(model, tmp_path) -> None:
    before = copy.deepcopy(model.state_dict())
    export_model(model, tmp_path / "m.janus.pt", ["H"])
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("content", [b"", b"not a model", None])
def test_damaged_files_are_named(model, tmp_path, content) -> None:
    path = tmp_path / "m.janus.pt"
    export_model(model, path)
    path.write_bytes(path.read_bytes()[:4000] if content is None else content)
    with pytest.raises(UserError, match=r"m\.janus\.pt cannot be read"):
        load_exported(path)
    with pytest.raises(UserError, match=r"nowhere\.janus\.pt does not exist: check the name"):
        load_exported(tmp_path / "nowhere.janus.pt")


def test_a_device_without_memory_is_no_damage_to_the_file(model, tmp_path, monkeypatch) -> None:
    def no_memory(module, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    export_model(model, tmp_path / "m.janus.pt")
    monkeypatch.setattr(torch.jit.RecursiveScriptModule, "to", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        load_exported(tmp_path / "m.janus.pt", "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_a_gpu_is_exported_and_read_there(model, tmp_path) -> None:
    export_model(model.to("cuda"), tmp_path / "m.janus.pt")
    water = batch_of(model, molecule("H2O")).to("cuda")
    found = predict(load_exported(tmp_path / "m.janus.pt", "cuda").module, water)
    assert abs(float(found.energy[0] - predict(model, water).energy[0])) < 1e-4


def test_any_torchscript_file_is_not_a_model(tmp_path) -> None:
    path = tmp_path / "other.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))
    with pytest.raises(UserError, match="is not a Janus-MD model"):
        load_exported(path)


def test_large_systems_recompute_the_blocks_of_an_exported_file(
    model, tmp_path, monkeypatch
) -> None:
    path = tmp_path / "m.janus.pt"
    export_model(model, path, precision="double")
    salt = bulk("NaCl", "rocksalt", a=5.5, cubic=True).repeat(2)
    salt.rattle(0.1, seed=0)
    batch = batch_of(model, salt)
    kept = predict(model, batch, stress=True)
    monkeypatch.setattr(derivatives, "KEPT", 0)
    potential = load_exported(path)
    for _ in range(4):
        again = predict(potential.module, batch, stress=True)
        np.testing.assert_allclose(again.forces.numpy(), kept.forces.numpy(), atol=1e-10)
        np.testing.assert_allclose(again.stress.numpy(), kept.stress.numpy(), atol=1e-12)


def test_flipped_bits_in_the_weights_are_noticed(model, tmp_path) -> None:
    path = tmp_path / "m.janus.pt"
    export_model(model, path)
    content = bytearray(path.read_bytes())
    name = next(n for n in zipfile.ZipFile(path).namelist() if re.search(r"/data/\d+$", n))
    weights = zipfile.ZipFile(path).read(name)
    place = content.index(weights)
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"the weights in .*m\.janus\.pt are damaged"):
        load_exported(path)


def test_others_may_read_an_exported_file(model, tmp_path) -> None:
    path = tmp_path / "m.janus.pt"
    export_model(model, path)
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": 1}, "format version 1, this janus-md reads 2: export the model again"),
        ({"format_version": 99}, "format version 99, this janus-md reads 2: update janus-md"),
        (
            {"engine": "aotinductor"},
            "is for the engine 'aotinductor', this janus-md runs torchscript: export it again",
        ),
        ({"cutoff": "six"}, "damaged manifest: export the model again"),
    ],
)
def test_manifests_of_other_formats_are_refused(tmp_path, change, sentence) -> None:
    manifest = export_model(MatRISMoE(preset("tiny", elements=["Na"])), tmp_path / "m.janus.pt")
    text = json.dumps(manifest.model_dump() | change)
    with pytest.raises(UserError, match=sentence):
        read_manifest(text, tmp_path / "m.janus.pt")
