"""Exchanges between ranks that can be differentiated any number of times.

Each is an autograd function whose backward applies such a function again, so a derivative of any order sends what it
has to. The total loss is the sum of the ranks' losses. All ranks of a group must take part, in the same order: who has
nothing to send passes an empty tensor. Each has a form that starts now and is waited for later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from janus_training.parallel.mesh import Group

# torch 2.13 renamed these two.
_gather_into = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_scatter_into = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


def _as_it_is(x: Tensor) -> Tensor:
    return x


@dataclass
class Pending:
    """An exchange under way. ``wait`` may be called once and returns what it brings.

    Attributes:
        works: the messages. buffer: where they arrive. finish: makes the result of it.
    """

    works: Sequence[dist.Work]
    buffer: Tensor
    group: Group
    what: str
    finish: Callable[[Tensor], Tensor] = _as_it_is

    def wait(self) -> Tensor:
        if self.works:
            with self.group.ledger.waiting(self.what):
                for work in self.works:
                    work.wait()
        return self.finish(self.buffer)


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
    x: Tensor, sent: Sequence[int], received: Sequence[int], group: Group, what: str, half: bool = False
) -> Tensor:  # fmt: skip
    """Rows to each rank, in order of ranks: [sum(sent), ...] → [sum(received), ...].

    ``half``: they travel as 16-bit floats, each row scaled by its largest entry; so do derivatives of any order.
    """
    return all_to_all_after(x.new_zeros(0), x, sent, received, group, what, half)[0]


def all_to_all_after(
    link: Tensor, x: Tensor, sent: Sequence[int], received: Sequence[int], group: Group, what: str,
    half: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """:func:`all_to_all` and a link: an empty tensor that puts the exchange it is given to next after this one.

    Exchanges that do not depend on each other might otherwise be derived in another order on each rank. The links hold
    in every derivative, and from a forward pass to its derivatives.
    """
    if group.size == 1:
        return x, link
    return _AllToAll.apply(x, link, tuple(sent), tuple(received), group, what, half)


def all_reduce(x: Tensor, group: Group, what: str) -> Tensor:
    """Sum over ranks, on each of them."""
    if group.size == 1:
        return x
    return _AllReduce.apply(x, group, what)


def start_all_gather(x: Tensor, sizes: Sequence[int], group: Group, what: str) -> Pending:
    """Begin :func:`all_gather`; not differentiable by itself."""
    rows = max(sizes)
    if rows == 0:
        return Pending([], x, group, what)
    group.ledger.sent(what, (group.size - 1) * rows * _row_bytes(x))
    padded = _padded(x.detach(), rows)
    buffer = x.new_empty(group.size * rows, *x.shape[1:])
    works = _begun(group, _gather_into, buffer, padded)
    finish = _as_it_is if min(sizes) == rows else partial(_without_padding, sizes)
    return Pending(works, buffer, group, what, finish)


def start_reduce_scatter(x: Tensor, sizes: Sequence[int], group: Group, what: str) -> Pending:
    """Begin :func:`reduce_scatter`; not differentiable by itself."""
    rows = max(sizes)
    if rows == 0:
        return Pending([], x, group, what)
    group.ledger.sent(what, (group.size - 1) * rows * _row_bytes(x))
    parts = [_padded(part, rows) for part in x.detach().split(list(sizes))]
    whole = x.detach().contiguous() if min(sizes) == rows else torch.cat(parts)
    buffer = x.new_empty(rows, *x.shape[1:])
    works = _begun(group, _scatter_into, buffer, whole)
    return Pending(works, buffer[: sizes[group.place]], group, what)


def start_all_to_all(
    x: Tensor, sent: Sequence[int], received: Sequence[int], group: Group, what: str, half: bool = False
) -> Pending:  # fmt: skip
    """Begin :func:`all_to_all`; not differentiable by itself."""
    x = x.detach().contiguous()
    if not half:
        return _exchange([x], sent, received, group, what, _only)
    # Each row has a scale of its own: of a token, which is one element's, or of an expert.
    scales = x.flatten(1).abs().amax(1).clamp(min=1e-30) if x.numel() else x.new_zeros(len(x))
    rows = (x / scales.view(-1, *[1] * (x.dim() - 1))).half()
    return _exchange([rows, scales], sent, received, group, what, _unscaled)


def _exchange(
    tensors: Sequence[Tensor],
    sent: Sequence[int],
    received: Sequence[int],
    group: Group,
    what: str,
    combine: Callable[[Sequence[Tensor]], Tensor],
) -> Pending:
    """Rows of each tensor to every rank; ``combine`` makes the result of what arrives."""
    away = sum(sent) - sent[group.place]
    buffers, works = [], []
    for x in tensors:
        group.ledger.sent(what, away * _row_bytes(x))
        buffers.append(x.new_empty(sum(received), *x.shape[1:]))
        works += _begun(group, dist.all_to_all_single, buffers[-1], x, list(received), list(sent))
    return Pending(works, buffers[0], group, what, lambda _: combine(buffers))


def _only(buffers: Sequence[Tensor]) -> Tensor:
    return buffers[0]


def _unscaled(buffers: Sequence[Tensor]) -> Tensor:
    rows, scales = buffers
    return rows.to(scales.dtype) * scales.view(-1, *[1] * (rows.dim() - 1))


def start_all_reduce(x: Tensor, group: Group, what: str) -> Pending:
    """Begin :func:`all_reduce` in place; not differentiable by itself."""
    assert x.is_contiguous(), "messages are memory as it lies"
    # A ring sends all but its own part twice.
    group.ledger.sent(what, 2 * (group.size - 1) * x.numel() * x.element_size() // group.size)
    return Pending(_begun(group, dist.all_reduce, x), x, group, what)


def _begun(group: Group, exchange: Callable[..., dist.Work], *arguments: Any) -> list[dist.Work]:
    """The exchange under way; of ranks that are only imagined, as planning does, nothing is."""
    if group.handle is None:
        return []
    return [exchange(*arguments, group=group.handle, async_op=True)]


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
        ctx: Any, x: Tensor, link: Tensor, sent: tuple[int, ...], received: tuple[int, ...],
        group: Group, what: str, half: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        ctx.set_materialize_grads(False)
        ctx.arguments = received, sent, group, what, half
        found, after = start_all_to_all(x, sent, received, group, what, half).wait(), x.new_zeros(0)
        ctx.shape = found.shape
        ctx.save_for_backward(after)
        return found, after

    @staticmethod
    def backward(
        ctx: Any, g: Tensor | None, g_link: Tensor | None
    ) -> tuple[Tensor, Tensor, None, None, None, None, None]:
        (after,) = ctx.saved_tensors
        # The last exchange of a chain is the first to be derived: after all of the chain.
        link = after if g_link is None else g_link
        g = after.new_zeros(ctx.shape) if g is None else g
        return (*_AllToAll.apply(g, link, *ctx.arguments), None, None, None, None, None)


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


def _without_padding(sizes: Sequence[int], x: Tensor) -> Tensor:
    blocks = x.chunk(len(sizes))
    return torch.cat([block[:rows] for block, rows in zip(blocks, sizes, strict=True)])


def _row_bytes(x: Tensor) -> int:
    return x.element_size() * int(torch.Size(x.shape[1:]).numel())
