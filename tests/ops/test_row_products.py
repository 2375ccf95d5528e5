"""Products of edges with their atom's matrices: PyTorch's values, and a layout that derivatives keep."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from janus_md.ops.row_products import contract, spread


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def test_values() -> None:
    a, b, c = random(3, 5, 2), random(3, 5, 4), random(3, 2, 4)
    torch.testing.assert_close(contract(a, b), a.transpose(1, 2) @ b)
    torch.testing.assert_close(spread(a, c), a @ c)


def test_derivatives() -> None:
    torch.manual_seed(0)
    for function, given in (
        (contract, (random(2, 3, 2), random(2, 3, 4))),
        (spread, (random(2, 3, 2), random(2, 2, 4))),
    ):
        assert gradcheck(function, given)
        assert gradgradcheck(function, given)


def test_all_derivatives_lie_row_by_row() -> None:
    """PyTorch's second derivatives of the same products do not."""

    def layouts(contract, spread) -> list[bool]:
        a, b, c = random(3, 5, 2), random(3, 5, 4), random(3, 2, 4)
        y = contract(a, b).sin().sum() + spread(a, c).sin().sum()
        first = torch.autograd.grad(y, (a, b, c), create_graph=True)
        second = torch.autograd.grad(sum(x.sin().sum() for x in first), (a, b, c))
        return [x.is_contiguous() for x in (*first, *second)]

    assert all(layouts(contract, spread))
    assert not all(layouts(lambda a, b: a.transpose(1, 2) @ b, torch.bmm))
