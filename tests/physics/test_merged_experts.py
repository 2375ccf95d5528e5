"""Merged experts against routed ones: 1e-10 relative, for any set of elements."""

from __future__ import annotations

import numpy as np
import pytest

from janus_md.export import merge_experts


@pytest.mark.parametrize("elements", [None, ["Si", "O", "Cl", "Na"], ["Na", "Si", "Cl"]])
def test_merged_model_gives_the_same_energies(evaluate, crystal, elements) -> None:
    routed = evaluate(crystal, stress=True)
    evaluate.model = merge_experts(evaluate.model, elements)
    merged = evaluate(crystal, stress=True)
    energy = float(routed.energy[0])
    assert abs(float(merged.energy[0]) - energy) <= 1e-10 * max(1.0, abs(energy))
    np.testing.assert_allclose(merged.forces.numpy(), routed.forces.numpy(), atol=1e-10)
    np.testing.assert_allclose(merged.stress.numpy(), routed.stress.numpy(), atol=1e-10)


def test_merged_model_has_no_router(evaluate) -> None:
    merged = merge_experts(evaluate.model, ["Na", "Cl"])
    assert not [name for name, _ in merged.named_parameters() if "router" in name]
    assert merged.embedding.element.weight.shape[0] == 2
