"""What a thread does that owns one edge: functions of Triton for :mod:`janus_md.ops.line_attention_triton`.

A tensor [EDGES] is one number of each thread, and channels are a tuple of them, written out: in a block [channels,
EDGES] the compiler would share an edge among threads, who then had to exchange it (docs/experiments.md, "A thread for
an edge").
"""

from __future__ import annotations

import triton
import triton.language as tl

WARPS = 1
"""Of a program: threads have nothing to tell each other, and the fewer end together the sooner others begin."""

EDGES = tl.constexpr(32 * WARPS)
"""Of a program, one for each of its threads."""


@triton.jit
def own(rows, L):
    """The edges of the program's threads among all ``rows``, which of them exist, and the first edge of their atom."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    exists = edge < rows
    edge = tl.minimum(edge, rows - 1)
    return edge, exists, edge // L * L


@triton.jit
def read(pointer, edge, width: tl.constexpr, stride: tl.constexpr):
    """A row of ``width`` numbers, those of one edge for each thread: a tuple."""
    at, found = pointer + edge * stride, ()
    for channel in tl.static_range(width):
        found = found + (tl.load(at + channel),)
    return found


@triton.jit
def store(pointer, values, edge, exists, width: tl.constexpr, stride: tl.constexpr):
    at = pointer + edge * stride
    for channel in tl.static_range(width):
        tl.store(at + channel, values[channel], mask=exists)


@triton.jit
def zeros(like, width: tl.constexpr):
    found = ()
    for _ in tl.static_range(width):
        found = found + (tl.zeros_like(like),)
    return found


@triton.jit
def dot(x, y, width: tl.constexpr):
    found = x[0] * y[0]
    for channel in tl.static_range(1, width):
        found += x[channel] * y[channel]
    return found


@triton.jit
def add(sums, weight, x, width: tl.constexpr):
    """sums + weight·x"""
    found = ()
    for channel in tl.static_range(width):
        found = found + (sums[channel] + weight * x[channel],)
    return found


@triton.jit
def polynomials(c, A: tl.constexpr):
    """T_l(c) and their first and second derivatives by c: three tuples, of which what is not used is not computed."""
    values, slopes, curves = (), (), ()
    t, t_before = tl.zeros_like(c) + 1.0, c
    slope, slope_before = tl.zeros_like(c), tl.zeros_like(c) + 1.0
    curve, curve_before = tl.zeros_like(c), tl.zeros_like(c)
    for _ in tl.static_range(A):
        values, slopes, curves = values + (t,), slopes + (slope,), curves + (curve,)
        curve, curve_before = 4.0 * slope + 2.0 * c * curve - curve_before, curve
        slope, slope_before = 2.0 * (t + c * slope) - slope_before, slope
        t, t_before = 2.0 * c * t - t_before, t
    return values, slopes, curves


@triton.jit
def store_coefficients(pointer, bias, factor, H: tl.constexpr, A: tl.constexpr):
    """The program's part of the gradient of B and F, into [programs, 2·H, A]."""
    at = pointer + (tl.program_id(0).to(tl.int64) * 2 * H + tl.program_id(1)) * A
    for degree in tl.static_range(A):
        tl.store(at + degree, tl.sum(bias[degree], 0))
        tl.store(at + H * A + degree, tl.sum(factor[degree], 0))


@triton.jit
def sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))
