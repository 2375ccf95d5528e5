"""x·σ(x) with derivatives of its own."""

import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from janus_md.ops.silu import silu


def test_values_and_derivatives() -> None:
    torch.manual_seed(0)
    x = 3.0 * torch.randn(5, 3, dtype=torch.float64)
    x.requires_grad_()
    torch.testing.assert_close(silu(x), F.silu(x))
    assert gradcheck(silu, (x,))
    assert gradgradcheck(silu, (x,))


def test_a_third_derivative() -> None:
    """That of PyTorch's."""
    x = torch.tensor([0.7, -1.3], dtype=torch.float64, requires_grad=True)
    found, expected = silu(x), F.silu(x)
    for _ in range(3):
        (found,) = torch.autograd.grad(found.sum(), x, create_graph=True)
        (expected,) = torch.autograd.grad(expected.sum(), x, create_graph=True)
    torch.testing.assert_close(found, expected)
