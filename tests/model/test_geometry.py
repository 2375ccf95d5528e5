"""What the geometry hands to the blocks."""

from __future__ import annotations

import pytest
import torch

from janus_md.export import merge_experts
from janus_md.model import MatRISMoE, preset


def evaluate(model: MatRISMoE, device: str) -> torch.Tensor:
    """Energies of three atoms, rows of two neighbours each, and their gradient on the way."""
    vectors = torch.full((3, 2, 3), 1.5, dtype=torch.float64, device=device, requires_grad=True)
    per_atom = torch.zeros(3, dtype=torch.int64, device=device)
    per_graph = torch.zeros(1, dtype=torch.float64, device=device)
    energies, _ = model(
        per_atom,
        per_atom,
        [torch.zeros(3, 2, dtype=torch.int64, device=device)],
        [per_atom[:0]],
        [vectors],
        [1],
        torch.zeros(1, dtype=torch.int64, device=device),
        per_graph,
        per_graph,
        torch.zeros(1, 2, dtype=torch.float64, device=device),
    )
    torch.autograd.grad(energies.sum(), vectors)
    return energies


@pytest.mark.parametrize("form", ["own", "merged", "scripted"])
def test_a_dense_model_never_asks_for_a_value(form: str) -> None:
    """On the meta device there are no values, and asking for one fails; on a GPU it would wait for it."""
    model = MatRISMoE(
        preset("tiny", elements=["Si", "O"], num_message_experts=0, num_feature_experts=0)
    )
    model = model if form == "own" else merge_experts(model)
    model = torch.jit.script(model) if form == "scripted" else model
    assert evaluate(model, "cpu").isfinite().all()
    assert evaluate(model.to("meta"), "meta").shape == (3,)


def test_a_routed_model_gets_its_counts_on_the_cpu() -> None:
    model = MatRISMoE(preset("tiny", elements=["Si", "O"]))
    species = torch.tensor([0, 0, 1])
    owners = torch.tensor([0, 0, 0, 1, 2])
    neighbours = torch.zeros(5, 2, dtype=torch.int64)
    vectors = torch.ones(5, 2, 3)
    _, context = model.geometry(vectors, neighbours, owners, species, species[neighbours], 1)
    assert [counts.tolist() for counts in context[2:4]] == [[2, 1], [4, 1]]
