"""Kernels of :mod:`janus_md.ops.expert_products` for GPUs: all experts in one launch, however few rows each has.

Tokens, the K rows of each routed atom, are counted in the order of their experts. A program finds its expert by
counting the tiles of those before it, reads tokens from where they lie and writes results to where they belong:
nothing is copied, and no device is asked how many rows an expert has.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

SIZES = ["E", "K", "ACTIVE", "PARTS"]
"""Programs serve all of these, without a compilation for one or for those that 16 divides, as there is for widths."""

MULTIPROCESSORS = 132
"""About those of a GPU, which sums over many rows are shared among."""


class Tile(NamedTuple):
    """Sizes of what a program multiplies at a time, and its warps."""

    rows: int
    columns: int
    inner: int
    warps: int


PRODUCT = Tile(64, 64, 32, 4)
OUTER = Tile(64, 64, 32, 4)


@triton.jit
def _sizes(ends_ptr, E, K, EXPERTS: tl.constexpr):
    """Tokens of each expert, int32 [EXPERTS]; none beyond the last."""
    expert = tl.arange(0, EXPERTS)
    exists = expert < E
    ends = tl.load(ends_ptr + expert, mask=exists, other=0)
    begins = tl.load(ends_ptr + expert - 1, mask=exists & (expert > 0), other=0)
    return tl.where(exists, ends - begins, 0).to(tl.int32) * K


@triton.jit
def _places(order_ptr, token, exists, K, ACTIVE):
    """Of tokens in the order of experts: where they are among the tokens of atoms, and among those of their routes."""
    route = tl.load(order_ptr + token // K, mask=exists, other=0)
    slot = token % K
    return route // ACTIVE * K + slot, route * K + slot


@triton.jit(do_not_specialize=SIZES)
def _products(
    x_ptr, w_ptr, order_ptr, ends_ptr, y_ptr, E, K, ACTIVE, IN, OUT,
    EXPERTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    sizes = _sizes(ends_ptr, E, K, EXPERTS)
    tiles = (sizes + ROWS - 1) // ROWS
    mine = tl.program_id(0)
    passed = tl.cumsum(tiles, 0) <= mine
    expert = tl.sum(passed.to(tl.int32), 0)
    if expert < E:
        first = tl.sum(tl.where(passed, sizes, 0), 0)
        end = first + tl.sum(tl.where(tl.arange(0, EXPERTS) == expert, sizes, 0), 0)
        first += (mine - tl.sum(tl.where(passed, tiles, 0), 0)) * ROWS
        token = first + tl.arange(0, ROWS)
        source, target = _places(order_ptr, token, token < end, K, ACTIVE)
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        inner = tl.arange(0, INNER)
        x_at = x_ptr + source[:, None] * IN + inner[None, :]
        w_at = w_ptr + (expert.to(tl.int64) * IN + inner[:, None]) * OUT + column[None, :]
        y = tl.zeros([ROWS, COLUMNS], dtype=x_ptr.dtype.element_ty)
        for done in range(0, IN, INNER):
            has = inner < IN - done
            a = tl.load(x_at, mask=(token < end)[:, None] & has[None, :], other=0.0)
            b = tl.load(w_at, mask=has[:, None] & (column < OUT)[None, :], other=0.0)
            y = tl.dot(a, b, y, input_precision="ieee", out_dtype=y.dtype)
            x_at += INNER
            w_at += INNER * OUT
        y_at = y_ptr + target[:, None] * OUT + column[None, :]
        tl.store(y_at, y, mask=(token < end)[:, None] & (column < OUT)[None, :])


@triton.jit(do_not_specialize=SIZES)
def _outers(
    x_ptr, h_ptr, order_ptr, ends_ptr, y_ptr, E, K, ACTIVE, PARTS, IN, OUT,
    EXPERTS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr,
):  # fmt: skip
    sizes = _sizes(ends_ptr, E, K, EXPERTS)
    expert, part = tl.program_id(0) // PARTS, tl.program_id(0) % PARTS
    number = tl.arange(0, EXPERTS)
    first = tl.sum(tl.where(number < expert, sizes, 0), 0)
    size = tl.sum(tl.where(number == expert, sizes, 0), 0)
    share = (size + PARTS - 1) // PARTS
    end = first + tl.minimum(size, (part + 1) * share)
    first += part * share
    tiles = (OUT + COLUMNS - 1) // COLUMNS
    row = tl.program_id(1) // tiles * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) % tiles * COLUMNS + tl.arange(0, COLUMNS)
    y = tl.zeros([ROWS, COLUMNS], dtype=x_ptr.dtype.element_ty)
    for done in range(first, end, INNER):
        token = done + tl.arange(0, INNER)
        exists = token < end
        source, target = _places(order_ptr, token, exists, K, ACTIVE)
        a_at = x_ptr + source[None, :] * IN + row[:, None]
        b_at = h_ptr + target[:, None] * OUT + column[None, :]
        a = tl.load(a_at, mask=exists[None, :] & (row < IN)[:, None], other=0.0)
        b = tl.load(b_at, mask=exists[:, None] & (column < OUT)[None, :], other=0.0)
        y = tl.dot(a, b, y, input_precision="ieee", out_dtype=y.dtype)
    y_at = y_ptr + ((part * E + expert).to(tl.int64) * IN + row[:, None]) * OUT + column[None, :]
    tl.store(y_at, y, mask=(row < IN)[:, None] & (column < OUT)[None, :])


def products(x: Tensor, weights: Tensor, experts: Tensor, tile: Tile = PRODUCT) -> Tensor:
    """What each route makes of its tokens.

    Args:
        x: [n, K, in], the same for all routes of an atom, or [n·k, K, in], each route's own.
        weights: [E, in, out]. experts: int64 [n, k].

    Returns:
        [n·k, K, out].
    """
    # Weights that lie transposed are read up to three times slower than they are copied and read.
    x, weights = x.contiguous(), weights.contiguous()
    (_, slots, inputs), outputs = x.shape, weights.shape[2]
    order, ends = _order_and_ends(experts, len(weights))
    y = x.new_empty(len(order), slots, outputs)
    if y.numel():
        # A tile for each ROWS tokens, and for each expert one that is not full.
        grid = (
            triton.cdiv(len(order) * slots, tile.rows) + len(weights),
            triton.cdiv(outputs, tile.columns),
        )
        with torch.cuda.device_of(x):
            _products[grid](
                x, weights, order, ends, y, len(weights), slots, len(order) // len(x),
                inputs, outputs, triton.next_power_of_2(len(weights)), *tile[:3], num_warps=tile.warps,
            )  # fmt: skip
    return y


def outers(x: Tensor, h: Tensor, experts: Tensor, number: int, tile: Tile = OUTER) -> Tensor:
    """Sums over each expert's tokens.

    Args:
        x: [n, K, in]. h: [n, k, K, out]. experts: int64 [n, k]. number: of experts.

    Returns:
        [number, in, out].
    """
    x, h = x.contiguous(), h.contiguous()
    (_, slots, inputs), outputs = x.shape, h.shape[3]
    order, ends = _order_and_ends(experts, number)
    tiles = triton.cdiv(inputs, tile.rows) * triton.cdiv(outputs, tile.columns)
    shares = parts(len(order) * slots, number, tiles, tile)
    y = x.new_empty(shares, number, inputs, outputs)
    if y.numel():
        with torch.cuda.device_of(x):
            _outers[number * shares, tiles](
                x, h, order, ends, y, number, slots, experts.shape[1], shares,
                inputs, outputs, triton.next_power_of_2(number), *tile[:3], num_warps=tile.warps,
            )  # fmt: skip
    return y.sum(0)


def _order_and_ends(experts: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Routes sorted by expert, [n·k], and the end of each expert's among them, [number]."""
    chosen, order = experts.flatten().sort(stable=True)
    numbers = torch.arange(number, device=experts.device)
    return order, torch.searchsorted(chosen, numbers, right=True)


def parts(tokens: int, number: int, tiles: int, tile: Tile) -> int:
    """Programs that share an expert's tokens: a power of two, on average two products of a tile or more for each."""
    wanted = min(2 * MULTIPROCESSORS / (number * tiles), tokens / (4 * number * tile.inner))
    return triton.next_power_of_2(max(1, int(wanted)))
