"""Collectives as functions of one tensor that every rank holds whole, which gradcheck can differentiate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from janus_training.parallel.collectives import (
    all_gather,
    all_reduce,
    all_to_all,
    reduce_scatter,
    start_all_gather,
)
from janus_training.parallel.mesh import Group, make_mesh


class _Own(torch.autograd.Function):
    """All ranks' rows → this rank's; the gradient is what all ranks found for theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int], group: Group) -> Tensor:
        ctx.arguments = sizes, group
        return x.split(sizes)[group.place].clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return _Everyones.apply(g, *ctx.arguments), None, None


class _Everyones(torch.autograd.Function):
    """This rank's rows → those of all ranks; the gradient is the part of this rank's rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int], group: Group) -> Tensor:
        ctx.arguments = sizes, group
        return start_all_gather(x, sizes, group, "test").wait()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return _Own.apply(g, *ctx.arguments), None, None


def check(
    collective: Callable[[Tensor], Tensor],
    taken: Sequence[int],
    given: Sequence[int],
    group: Group,
) -> None:
    """First and second derivatives of a collective that takes and gives so many rows on each rank."""
    torch.manual_seed(0)
    x = torch.randn(sum(taken), 1, dtype=torch.float64, requires_grad=True)

    def whole(x: Tensor) -> Tensor:
        own = _Own.apply(x, list(taken), group)
        # Nonlinear on both sides, so that second derivatives are not zero.
        return _Everyones.apply(collective(own.sin()).cos(), list(given), group)

    assert torch.autograd.gradcheck(whole, (x,))
    assert torch.autograd.gradgradcheck(whole, (x,))


def check_all() -> None:
    """Every collective, with even, uneven, and empty shares."""
    group = make_mesh(1).world
    size, place = group.size, group.place
    for sizes in ([2] * size, [3, 1, 0, 2][:size], [0, 2, 0, 0][:size], [0] * size):
        total = sum(sizes)
        check(lambda x, s=sizes: all_gather(x, s, group), sizes, [total] * size, group)
        check(lambda x, s=sizes: reduce_scatter(x, s, group), [total] * size, sizes, group)
        begun = all_gather_begun(sizes, group)
        check(begun, sizes, [total] * size, group)
        check(lambda x: all_reduce(x, group, "test"), [total] * size, [total] * size, group)
    uneven = [[(3 * i + 2 * j) % 4 for j in range(size)] for i in range(size)]
    one_way = [[2 if (i, j) == (0, 1) else 0 for j in range(size)] for i in range(size)]
    for table in (uneven, one_way):
        sent, received = table[place], [row[place] for row in table]
        check(
            lambda x, s=sent, r=received: all_to_all(x, s, r, group, "test"),
            [sum(row) for row in table],
            [sum(row[j] for row in table) for j in range(size)],
            group,
        )


def all_gather_begun(sizes: list[int], group: Group) -> Callable[[Tensor], Tensor]:
    """The form that is started before it is needed."""

    def gather(x: Tensor) -> Tensor:
        pending = start_all_gather(x, sizes, group, "test")
        return all_gather(x, sizes, group, pending)

    return gather


def half_precision() -> tuple[float, float]:
    """Largest relative error of a row, and of a second derivative, when rows travel as 16-bit floats."""
    group = make_mesh(1).world
    torch.manual_seed(group.place)
    x = torch.randn(2 * group.size, 5, dtype=torch.float64) * torch.logspace(-8, 8, 5)
    x = (x * torch.logspace(-6, 6, 2 * group.size)[:, None]).requires_grad_()
    counts = [2] * group.size

    def slopes(half: bool) -> tuple[Tensor, Tensor]:
        found = all_to_all(x, counts, counts, group, "test", half)
        (first,) = torch.autograd.grad((found**3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        return found.detach(), second

    (rows, second), (exact, exact_second) = slopes(True), slopes(False)

    def error(a: Tensor, b: Tensor) -> float:
        return float(((a - b).abs().amax(1) / b.abs().amax(1)).max())

    return error(rows, exact), error(second, exact_second)
