"""Functions of an edge's length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from janus_md.model.basis import envelope


def with_derivatives(lengths: Tensor, cutoff: float, order: int) -> list[Tensor]:
    """The envelope and its first ``order`` derivatives."""
    lengths = lengths.requires_grad_(True)
    found = [envelope(lengths, cutoff)]
    for _ in range(order):
        (slope,) = torch.autograd.grad(found[-1].sum(), lengths, create_graph=True)
        found.append(slope)
    return [values.detach() for values in found]


@pytest.mark.parametrize("cutoff", [3.0, 4.5, 6.0])
def test_the_envelope_ends_with_its_first_two_derivatives(cutoff: float) -> None:
    """Just inside the cutoff, where the third does not vanish, at it, and beyond."""
    lengths = cutoff * torch.tensor([1.0 - 1e-9, 1.0, 1.0 + 1e-9, 2.0], dtype=torch.float64)
    *first, third = with_derivatives(lengths, cutoff, 3)
    for values in first:
        assert float(values[0].abs()) < 1e-6
        assert not values[1:].any()
    assert float(third[0]) == pytest.approx(-336.0 / cutoff**3, rel=1e-6)


def test_the_envelope_is_the_polynomial_of_its_paper() -> None:
    x = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    expected = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
    np.testing.assert_allclose(envelope(6.0 * x, 6.0), expected, atol=1e-14)
    at_zero = with_derivatives(torch.zeros(1, dtype=torch.float64), 6.0, 5)
    assert [float(value) for value in at_zero] == pytest.approx([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
