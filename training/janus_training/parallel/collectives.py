"""Exchanges between ranks that can be differentiated any number of times.

Each is an autograd function whose backward applies such a function again, so a derivative of any order sends what it
has to. The total loss is the sum of the ranks' losses. All ranks of a group must take part, in the same order: who has
nothing to send passes an empty tensor. Each has a form that starts now and is waited for later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from janus_training.parallel.mesh import Group

# torch 2.13 renamed these two.
_gather_into = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_scatter_into = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


@dataclass
class Pending:
    """An exchange under way. ``wait`` may be called once and returns what it brings."""

    work: dist.Work | None
    buffer: Tensor
    sizes: Sequence[int] | None
    group: Group
    what: str

    def wait(self) -> Tensor:
        if self.work is not None:
            with self.group.ledger.waiting(self.what):
                self.work.wait()
        return self.buffer if self.sizes is None else _without_padding(self.buffer, self.sizes)


def all_gather(
    x: Tensor, sizes: Sequence[int], group: Group, pending: Pending | None = None,
    what: str = "parameters",
) -> Tensor:  # fmt: skip
    """Rows of all ranks below each other.

    Args:
        x: [sizes[place], ...]. sizes: rows of each rank; zero is allowed.
        pending: the same exchange begun earlier by :func:`start_all_gather`.

    Returns:
        [sum(sizes), ...].
    """
    if group.size == 1:
        return x
    return _AllGather.apply(x, tuple(sizes), group, pending, what)


def reduce_scatter(
    x: Tensor, sizes: Sequence[int], group: Group, what: str = "parameters"
) -> Tensor:
    """Sum over ranks of [sum(sizes), ...], of which each rank gets its rows, [sizes[place], ...]."""
    if group.size == 1:
        return x
    return _ReduceScatter.apply(x, tuple(sizes), group, what)


def all_to_all(
    x: Tensor, sent: Sequence[int], received: Sequence[int], group: Group, what: str
) -> Tensor:
    """Rows to each rank, in order of ranks: [sum(sent), ...] → [sum(received), ...]."""
    if group.size == 1:
        return x
    return _AllToAll.apply(x, tuple(sent), tuple(received), group, what)


def all_reduce(x: Tensor, group: Group, what: str) -> Tensor:
    """Sum over ranks, on each of them."""
    if group.size == 1:
        return x
    return _AllReduce.apply(x, group, what)


def start_all_gather(x: Tensor, sizes: Sequence[int], group: Group, what: str) -> Pending:
    """Begin :func:`all_gather`; not differentiable by itself."""
    rows = max(sizes)
    if rows == 0:
        return Pending(None, x, None, group, what)
    group.ledger.sent(what, (group.size - 1) * rows * _row_bytes(x))
    padded = _padded(x.detach(), rows)
    buffer = x.new_empty(group.size * rows, *x.shape[1:])
    work = _gather_into(buffer, padded, group=group.handle, async_op=True)
    return Pending(work, buffer, None if min(sizes) == rows else sizes, group, what)


def start_reduce_scatter(x: Tensor, sizes: Sequence[int], group: Group, what: str) -> Pending:
    """Begin :func:`reduce_scatter`; not differentiable by itself."""
    rows = max(sizes)
    if rows == 0:
        return Pending(None, x, None, group, what)
    group.ledger.sent(what, (group.size - 1) * rows * _row_bytes(x))
    parts = [_padded(part, rows) for part in x.detach().split(list(sizes))]
    whole = x.detach().contiguous() if min(sizes) == rows else torch.cat(parts)
    buffer = x.new_empty(rows, *x.shape[1:])
    work = _scatter_into(buffer, whole, group=group.handle, async_op=True)
    return Pending(work, buffer[: sizes[group.place]], None, group, what)


def start_all_to_all(
    x: Tensor, sent: Sequence[int], received: Sequence[int], group: Group, what: str
) -> Pending:
    """Begin :func:`all_to_all`; not differentiable by itself."""
    away = sum(sent) - sent[group.place]
    group.ledger.sent(what, away * _row_bytes(x))
    buffer = x.new_empty(sum(received), *x.shape[1:])
    work = dist.all_to_all_single(
        buffer, x.detach().contiguous(), list(received), list(sent),
        group=group.handle, async_op=True,
    )  # fmt: skip
    return Pending(work, buffer, None, group, what)


def start_all_reduce(x: Tensor, group: Group, what: str) -> Pending:
    """Begin :func:`all_reduce` in place; not differentiable by itself."""
    # A ring sends all but its own part twice.
    group.ledger.sent(what, 2 * (group.size - 1) * x.numel() * x.element_size() // group.size)
    work = dist.all_reduce(x, group=group.handle, async_op=True)
    return Pending(work, x, None, group, what)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        sizes: tuple[int, ...],
        group: Group,
        pending: Pending | None,
        what: str,
    ) -> Tensor:
        ctx.arguments = sizes, group, what
        return (pending or start_all_gather(x, sizes, group, what)).wait()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _ReduceScatter.apply(g, *ctx.arguments), None, None, None, None


class _ReduceScatter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[int, ...], group: Group, what: str) -> Tensor:
        ctx.arguments = sizes, group, what
        return start_reduce_scatter(x, sizes, group, what).wait()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        sizes, group, what = ctx.arguments
        return _AllGather.apply(g, sizes, group, None, what), None, None, None


class _AllToAll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        sent: tuple[int, ...],
        received: tuple[int, ...],
        group: Group,
        what: str,
    ) -> Tensor:
        ctx.arguments = received, sent, group, what
        return start_all_to_all(x, sent, received, group, what).wait()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _AllToAll.apply(g, *ctx.arguments), None, None, None, None


class _AllReduce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group, what: str) -> Tensor:
        ctx.arguments = group, what
        return start_all_reduce(x.clone(memory_format=torch.contiguous_format), group, what).wait()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return _AllReduce.apply(g, *ctx.arguments), None, None


def _padded(x: Tensor, rows: int) -> Tensor:
    x = x.contiguous()
    return x if len(x) == rows else torch.cat([x, x.new_zeros(rows - len(x), *x.shape[1:])])


def _without_padding(x: Tensor, sizes: Sequence[int]) -> Tensor:
    blocks = x.chunk(len(sizes))
    return torch.cat([block[:rows] for block, rows in zip(blocks, sizes, strict=True)])


def _row_bytes(x: Tensor) -> int:
    return x.element_size() * int(torch.Size(x.shape[1:]).numel())
