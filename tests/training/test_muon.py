"""Muon: orthogonal updates of matrices, AdamW for the rest."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from janus_training.muon import LIKE_ADAM, Muon, orthogonal


@settings(deadline=None)
@given(
    st.integers(1, 4), st.integers(2, 40), st.integers(2, 40), st.integers(0, 99), st.floats(-6, 6)
)
def test_singular_values_become_about_one(stack, rows, columns, seed, exponent):
    random = torch.Generator().manual_seed(seed)
    matrices = torch.randn(stack, rows, columns, generator=random, dtype=torch.float64)
    # Conditioned as gradients of interest are: Newton–Schulz leaves the smallest values behind.
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.linspace(0.1, 1.0, min(rows, columns), dtype=torch.float64)
    found = orthogonal(left * values @ right * 10.0**exponent)
    singular = torch.linalg.svdvals(found)
    assert float(singular.min()) > 0.6
    assert float(singular.max()) < 1.3
    torch.testing.assert_close(
        found.mT @ left @ right, (found.mT @ left @ right).mT, rtol=0, atol=1e-8
    )


def test_a_stack_of_experts_is_a_stack_of_matrices():
    stack = torch.randn(3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(orthogonal(stack)[1], orthogonal(stack[1]))


def test_updates_are_as_large_as_adams():
    matrix, vector = (torch.nn.Parameter(torch.zeros(*shape)) for shape in ((64, 48), (9,)))
    optimizer = Muon([matrix], [vector], lr=1e-2)
    matrix.grad, vector.grad = torch.randn(64, 48) * 1e-4, torch.randn(9)
    optimizer.step()
    size = float(matrix.detach().square().mean().sqrt())
    assert 0.5 * LIKE_ADAM * 1e-2 < size < 1.3 * LIKE_ADAM * 1e-2
    torch.testing.assert_close(vector.detach().abs(), torch.full((9,), 1e-2), rtol=1e-3, atol=0)


def test_zero_gradients_move_nothing():
    matrix, vector = torch.nn.Parameter(torch.ones(4, 4)), torch.nn.Parameter(torch.ones(3))
    optimizer = Muon([matrix], [vector], lr=1e-2)
    matrix.grad, vector.grad = torch.zeros(4, 4), torch.zeros(3)
    optimizer.step()
    torch.testing.assert_close(matrix.detach(), torch.ones(4, 4))
    torch.testing.assert_close(vector.detach(), torch.ones(3))
