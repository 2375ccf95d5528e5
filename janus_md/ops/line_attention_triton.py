"""Kernels of :mod:`janus_md.ops.line_attention` for GPUs, with its names.

A thread owns one edge of one atom, for one head, and takes the edges of that atom in turn: all that a pair has are
numbers in its registers, no thread waits for another, and nothing is padded. Sums over the edges q that an
edge p attends to are running sums then. Those over the edges p that attend to q ask for a pass in which threads own q,
which computes a pair's numbers again; so derivatives are two kernels each.

The polynomials T_l of a pair come from its cosine by their recurrence. Of the size [atoms, L, L] only the cosine is
read, and its gradient written, by each head.

The second derivative is the gradient of a directional derivative: with tangents marked ``_t``,

    ⟨g, d out⟩ = Σ_pq ẇ_pq·X_pq + w_pq·Y_pq,   X = g·v,   Y = g·v_t,   w = σ(s)·f·e,
    ẇ = σ'·ṡ·f·e + σ·(ḟ·e + f·ė),   ṡ = q_t·k + q·k_t + Σ_l B_t·T_l + B·T_l'·c_t,   ḟ = Σ_l F_t·T_l + F·T_l'·c_t,

differentiated by what it is made of.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from janus_md.ops.edge_threads import (
    EDGES,
    WARPS,
    add,
    dot,
    own,
    polynomials,
    read,
    sigmoid,
    store,
    store_coefficients,
    zeros,
)

SIZES = ["rows", "L"]
"""Of a batch: programs serve all, without a compilation for those that 16 divides."""


@triton.jit(do_not_specialize=SIZES)
def _forward(
    q_ptr, k_ptr, v_ptr, c_ptr, e_ptr, a_ptr, out_ptr, rows, L,
    H: tl.constexpr, A: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    edge, exists, first = own(rows, L)
    h = tl.program_id(1)
    bias, factor = read(a_ptr, h, A, A), read(a_ptr, H + h, A, A)
    q = read(q_ptr + h * D, edge, D, H * D)
    out = zeros(q[0], C)
    for other in range(L):
        c = tl.load(c_ptr + edge * L + other)
        k = read(k_ptr + h * D, first + other, D, H * D)
        v = read(v_ptr + h * C, first + other, C, H * C)
        t, _, _ = polynomials(c, A)
        b, f = dot(bias, t, A), dot(factor, t, A)
        weight = sigmoid(dot(q, k, D) + b) * f * tl.load(e_ptr + first + other)
        out = add(out, weight, v, C)
    store(out_ptr + h * C, out, edge, exists, C, H * C)


@triton.jit(do_not_specialize=SIZES)
def _gradients_by_queries(
    g_ptr, q_ptr, k_ptr, v_ptr, c_ptr, e_ptr, a_ptr, dq_ptr, dc_ptr, da_ptr, rows, L,
    H: tl.constexpr, A: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
    BY_A: tl.constexpr,
):  # fmt: skip
    edge, exists, first = own(rows, L)
    h = tl.program_id(1)
    bias, factor = read(a_ptr, h, A, A), read(a_ptr, H + h, A, A)
    q = read(q_ptr + h * D, edge, D, H * D)
    g = read(g_ptr + h * C, edge, C, H * C)
    dq = zeros(q[0], D)
    d_bias, d_factor = zeros(q[0], A), zeros(q[0], A)
    for other in range(L):
        c = tl.load(c_ptr + edge * L + other)
        k = read(k_ptr + h * D, first + other, D, H * D)
        v = read(v_ptr + h * C, first + other, C, H * C)
        t, slopes, _ = polynomials(c, A)
        b, b_c = dot(bias, t, A), dot(bias, slopes, A)
        f, f_c = dot(factor, t, A), dot(factor, slopes, A)
        s = sigmoid(dot(q, k, D) + b)
        by_factor = dot(g, v, C) * s * tl.load(e_ptr + first + other)
        by_logit = by_factor * f * (1.0 - s)
        dq = add(dq, by_logit, k, D)
        at = dc_ptr + (h.to(tl.int64) * L + other) * rows + edge
        tl.store(at, by_logit * b_c + by_factor * f_c, mask=exists)
        if BY_A:
            by_logit, by_factor = tl.where(exists, by_logit, 0.0), tl.where(exists, by_factor, 0.0)
            d_bias = add(d_bias, by_logit, t, A)
            d_factor = add(d_factor, by_factor, t, A)
    store(dq_ptr + h * D, dq, edge, exists, D, H * D)
    if BY_A:
        store_coefficients(da_ptr, d_bias, d_factor, H, A)


@triton.jit(do_not_specialize=SIZES)
def _gradients_by_keys(
    g_ptr, q_ptr, k_ptr, v_ptr, c_ptr, e_ptr, a_ptr, dk_ptr, dv_ptr, de_ptr, rows, L,
    H: tl.constexpr, A: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    edge, exists, first = own(rows, L)
    h = tl.program_id(1)
    bias, factor = read(a_ptr, h, A, A), read(a_ptr, H + h, A, A)
    k = read(k_ptr + h * D, edge, D, H * D)
    v = read(v_ptr + h * C, edge, C, H * C)
    e = tl.load(e_ptr + edge)
    dk, dv, de = zeros(e, D), zeros(e, C), tl.zeros_like(e)
    for other in range(L):
        c = tl.load(c_ptr + (first + other) * L + edge - first)
        q = read(q_ptr + h * D, first + other, D, H * D)
        g = read(g_ptr + h * C, first + other, C, H * C)
        t, _, _ = polynomials(c, A)
        b, f = dot(bias, t, A), dot(factor, t, A)
        s = sigmoid(dot(k, q, D) + b)
        x = dot(v, g, C) * s * f
        de += x
        dk = add(dk, x * e * (1.0 - s), q, D)
        dv = add(dv, s * f * e, g, C)
    store(dk_ptr + h * D, dk, edge, exists, D, H * D)
    store(dv_ptr + h * C, dv, edge, exists, C, H * C)
    tl.store(de_ptr + h.to(tl.int64) * rows + edge, de, mask=exists)


@triton.jit(do_not_specialize=SIZES)
def _second_gradients_by_queries(
    g_ptr, q_ptr, k_ptr, v_ptr, c_ptr, e_ptr, a_ptr, qt_ptr, kt_ptr, vt_ptr, ct_ptr, et_ptr, at_ptr,
    dg_ptr, dq_ptr, dc_ptr, da_ptr, rows, L,
    H: tl.constexpr, A: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    edge, exists, first = own(rows, L)
    h = tl.program_id(1)
    bias, factor = read(a_ptr, h, A, A), read(a_ptr, H + h, A, A)
    bias_t, factor_t = read(at_ptr, h, A, A), read(at_ptr, H + h, A, A)
    q = read(q_ptr + h * D, edge, D, H * D)
    q_t = read(qt_ptr + h * D, edge, D, H * D)
    g = read(g_ptr + h * C, edge, C, H * C)
    dq, dg = zeros(q[0], D), zeros(g[0], C)
    d_bias, d_factor = zeros(q[0], A), zeros(q[0], A)
    for other in range(L):
        c, c_t = tl.load(c_ptr + edge * L + other), tl.load(ct_ptr + edge * L + other)
        e, e_t = tl.load(e_ptr + first + other), tl.load(et_ptr + first + other)
        k = read(k_ptr + h * D, first + other, D, H * D)
        k_t = read(kt_ptr + h * D, first + other, D, H * D)
        v = read(v_ptr + h * C, first + other, C, H * C)
        v_t = read(vt_ptr + h * C, first + other, C, H * C)
        t, slopes, curves = polynomials(c, A)
        b, b_c, b_cc = dot(bias, t, A), dot(bias, slopes, A), dot(bias, curves, A)
        f, f_c, f_cc = dot(factor, t, A), dot(factor, slopes, A), dot(factor, curves, A)
        b_t, b_tc = dot(bias_t, t, A), dot(bias_t, slopes, A)
        f_t, f_tc = dot(factor_t, t, A), dot(factor_t, slopes, A)
        s = sigmoid(dot(q, k, D) + b)
        s_t = dot(q_t, k, D) + dot(q, k_t, D) + b_t + b_c * c_t
        rest = 1.0 - s
        x, y = dot(g, v, C) * s, dot(g, v_t, C) * s
        fe = f * e
        fe_t = (f_t + f_c * c_t) * e + f * e_t
        inner = x * s_t * rest + y
        # By the logit and the factor, and by their tangents.
        by_logit = rest * (inner * fe + x * (fe_t - s_t * s * fe))
        by_factor = inner * e + x * e_t
        by_logit_t = x * fe * rest
        by_factor_t = x * e
        dg = add(add(dg, s * (s_t * rest * fe + fe_t), v, C), s * fe, v_t, C)
        dq = add(add(dq, by_logit, k, D), by_logit_t, k_t, D)
        dc = by_logit * b_c + by_factor * f_c + by_logit_t * b_tc + by_factor_t * f_tc
        dc += (by_logit_t * b_cc + by_factor_t * f_cc) * c_t
        at = dc_ptr + (h.to(tl.int64) * L + other) * rows + edge
        tl.store(at, dc, mask=exists)
        counted = tl.where(exists, 1.0, 0.0)
        d_bias = add(d_bias, counted * by_logit, t, A)
        d_bias = add(d_bias, counted * by_logit_t * c_t, slopes, A)
        d_factor = add(d_factor, counted * by_factor, t, A)
        d_factor = add(d_factor, counted * by_factor_t * c_t, slopes, A)
    store(dg_ptr + h * C, dg, edge, exists, C, H * C)
    store(dq_ptr + h * D, dq, edge, exists, D, H * D)
    store_coefficients(da_ptr, d_bias, d_factor, H, A)


@triton.jit(do_not_specialize=SIZES)
def _second_gradients_by_keys(
    g_ptr, q_ptr, k_ptr, v_ptr, c_ptr, e_ptr, a_ptr, qt_ptr, kt_ptr, vt_ptr, ct_ptr, et_ptr, at_ptr,
    dk_ptr, dv_ptr, de_ptr, rows, L,
    H: tl.constexpr, A: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    edge, exists, first = own(rows, L)
    h = tl.program_id(1)
    bias, factor = read(a_ptr, h, A, A), read(a_ptr, H + h, A, A)
    bias_t, factor_t = read(at_ptr, h, A, A), read(at_ptr, H + h, A, A)
    k = read(k_ptr + h * D, edge, D, H * D)
    k_t = read(kt_ptr + h * D, edge, D, H * D)
    v = read(v_ptr + h * C, edge, C, H * C)
    v_t = read(vt_ptr + h * C, edge, C, H * C)
    e, e_t = tl.load(e_ptr + edge), tl.load(et_ptr + edge)
    dk, dv, de = zeros(e, D), zeros(e, C), tl.zeros_like(e)
    for other in range(L):
        pair = (first + other) * L + edge - first
        c, c_t = tl.load(c_ptr + pair), tl.load(ct_ptr + pair)
        q = read(q_ptr + h * D, first + other, D, H * D)
        q_t = read(qt_ptr + h * D, first + other, D, H * D)
        g = read(g_ptr + h * C, first + other, C, H * C)
        t, slopes, _ = polynomials(c, A)
        b, f = dot(bias, t, A), dot(factor, t, A)
        b_t = dot(bias_t, t, A) + dot(bias, slopes, A) * c_t
        f_t = dot(factor_t, t, A) + dot(factor, slopes, A) * c_t
        s = sigmoid(dot(k, q, D) + b)
        s_t = dot(k, q_t, D) + dot(k_t, q, D) + b_t
        rest = 1.0 - s
        x, y = dot(v, g, C) * s, dot(v_t, g, C) * s
        fe = f * e
        fe_t = f_t * e + f * e_t
        inner = x * s_t * rest + y
        by_logit = rest * (inner * fe + x * (fe_t - s_t * s * fe))
        de += inner * f + x * f_t
        dk = add(add(dk, by_logit, q, D), x * fe * rest, q_t, D)
        dv = add(dv, s * (s_t * rest * fe + fe_t), g, C)
    store(dk_ptr + h * D, dk, edge, exists, D, H * D)
    store(dv_ptr + h * C, dv, edge, exists, C, H * C)
    tl.store(de_ptr + h.to(tl.int64) * rows + edge, de, mask=exists)


KERNELS = (
    _forward,
    _gradients_by_queries,
    _gradients_by_keys,
    _second_gradients_by_queries,
    _second_gradients_by_keys,
)


def forward(
    q: Tensor, k: Tensor, v: Tensor, cosines: Tensor, envelope: Tensor, angular: Tensor
) -> Tensor:
    """``out``."""
    inputs = [x.contiguous() for x in (q, k, v, cosines, envelope, angular)]
    out = torch.empty_like(inputs[2])
    _launch(_forward, inputs[4], [*inputs, out], _sizes(q, v, angular))
    return out


def gradients(by_angular: bool, g: Tensor, *arguments: Tensor) -> list[Tensor]:
    """Of the six arguments; zero of the last unless ``by_angular``."""
    inputs = [x.contiguous() for x in (g, *arguments)]
    _, q, k, v, cosines, envelope, angular = inputs
    sizes = _sizes(q, v, angular)
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    by_cosines, by_envelope, by_a = _parts(cosines, envelope, angular)
    by_queries, by_keys = [*inputs, dq, by_cosines, by_a], [*inputs, dk, dv, by_envelope]
    _launch(_gradients_by_queries, envelope, by_queries, sizes | {"BY_A": by_angular})
    _launch(_gradients_by_keys, envelope, by_keys, sizes)
    by_a = by_a if by_angular else torch.zeros_like(by_a[:1])
    return [dq, dk, dv, *_sums(cosines, by_cosines, by_envelope, by_a)]


def second_gradients(given: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    """Of ``g`` and the six arguments."""
    inputs = [x.contiguous() for x in (*given, *tangents)]
    g, q, k, v, cosines, envelope, angular = inputs[:7]
    sizes = _sizes(q, v, angular)
    dg, dq, dk, dv = (torch.empty_like(x) for x in (g, q, k, v))
    by_cosines, by_envelope, by_a = _parts(cosines, envelope, angular)
    by_queries, by_keys = [*inputs, dg, dq, by_cosines, by_a], [*inputs, dk, dv, by_envelope]
    _launch(_second_gradients_by_queries, envelope, by_queries, sizes)
    _launch(_second_gradients_by_keys, envelope, by_keys, sizes)
    return [dg, dq, dk, dv, *_sums(cosines, by_cosines, by_envelope, by_a)]


def _launch(kernel: Any, envelope: Tensor, tensors: list[Tensor], sizes: dict[str, Any]) -> None:
    """``tensors``: what the kernel reads and what it writes, in its order."""
    if envelope.numel():
        grid = _programs(envelope), sizes["H"]
        batch = envelope.numel(), envelope.shape[1]
        # Triton launches on the present GPU, wherever tensors are.
        with torch.cuda.device_of(envelope):
            kernel[grid](*tensors, *batch, **sizes, num_warps=WARPS)


def _parts(cosines: Tensor, envelope: Tensor, angular: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each head's gradients of the cosines, [H, q, n·p], and of the envelope, [H, n, q]; each program's of B and F."""
    heads, (atoms, slots) = angular.shape[0] // 2, envelope.shape
    return (
        cosines.new_empty(heads, slots, atoms * slots),
        envelope.new_empty(heads, atoms, slots),
        angular.new_empty(_programs(envelope), *angular.shape),
    )


def _sums(
    cosines: Tensor, by_cosines: Tensor, by_envelope: Tensor, by_a: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of cosines, envelope and angular from such parts."""
    atoms, slots, _ = cosines.shape
    summed = by_cosines.sum(0).view(slots, atoms, slots).permute(1, 2, 0).contiguous()
    return summed, by_envelope.sum(0), by_a.sum(0)


def _programs(envelope: Tensor) -> int:
    return triton.cdiv(envelope.numel(), EDGES.value)


def _sizes(q: Tensor, v: Tensor, angular: Tensor) -> dict[str, Any]:
    """Heads, polynomials, widths of a head."""
    heads, polynomials = angular.shape[0] // 2, angular.shape[1]
    keys, values = q.shape[2] // heads, v.shape[2] // heads
    return {"H": heads, "A": polynomials, "D": keys, "C": values}
