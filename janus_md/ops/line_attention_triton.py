"""Kernels of :mod:`janus_md.ops.line_attention` for GPUs, with its names.

A program owns one atom: it takes the atom's heads in turn, and of each the pairs of sixteen edges p with all L edges q
at a time, in registers. The polynomials T_l of a pair come from its cosine by their recurrence, so that of the size
[atoms, L, L] only the cosine is read and its gradient, which the heads share, written.

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

from janus_md.ops.line_attention import LEAST
from janus_md.ops.line_attention import padded as _padded

ROWS = tl.constexpr(LEAST)
"""Edges p at a time: the least a matrix product of Triton takes."""

WARPS = 8
"""Of a program."""

WARPS_OF_SUMS = 2
"""The same where sums over all pairs of an atom, which wait for every warp, take most of the time."""

NARROW = 32
"""Edges, padded, up to which a program of so few warps holds its pairs in registers."""


@triton.jit
def _product(x, y):
    return tl.dot(x, y, input_precision="ieee", out_dtype=x.dtype)


@triton.jit
def _load(base, rows, columns, count, width, stride):
    """[rows, columns] of one head; zero outside."""
    inside = (rows[:, None] < count) & (columns[None, :] < width)
    return tl.load(base + rows[:, None] * stride + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _store(base, values, rows, columns, count, width, stride):
    inside = (rows[:, None] < count) & (columns[None, :] < width)
    tl.store(base + rows[:, None] * stride + columns[None, :], values, mask=inside)


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _weight_and_factor(q, k, c, a_ptr, h, H: tl.constexpr, A: tl.constexpr):
    """σ(q·k + b(θ)) and f(θ) of some pairs with cosines c."""
    logits = _product(q, tl.trans(k))
    factor = tl.zeros_like(c)
    t, t_before = tl.zeros_like(c) + 1.0, c
    for degree in range(A):
        logits += tl.load(a_ptr + h * A + degree) * t
        factor += tl.load(a_ptr + (H + h) * A + degree) * t
        t, t_before = 2.0 * c * t - t_before, t
    return _sigmoid(logits), factor


@triton.jit
def _forward(
    q_ptr, k_ptr, v_ptr, c_ptr, e_ptr, a_ptr, out_ptr, L,
    H: tl.constexpr, A: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
    LP: tl.constexpr, DP: tl.constexpr, CP: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    others, keys, values = tl.arange(0, LP), tl.arange(0, DP), tl.arange(0, CP)
    e = tl.load(e_ptr + i * L + others, mask=others < L, other=0.0)
    for h in range(H):
        by_key, by_value = i * L * H * D + h * D, i * L * H * C + h * C
        k = _load(k_ptr + by_key, others, keys, L, D, H * D)
        v = _load(v_ptr + by_value, others, values, L, C, H * C)
        for first in range(0, L, ROWS):
            rows = first + tl.arange(0, ROWS)
            q = _load(q_ptr + by_key, rows, keys, L, D, H * D)
            c = _load(c_ptr + i * L * L, rows, others, L, L, L)
            s, f = _weight_and_factor(q, k, c, a_ptr, h, H, A)
            out = _product(s * f * e[None, :], v)
            _store(out_ptr + by_value, out, rows, values, L, C, H * C)


@triton.jit
def _gradients(
    g_ptr, q_ptr, k_ptr, v_ptr, c_ptr, e_ptr, a_ptr,
    dq_ptr, dk_ptr, dv_ptr, dc_ptr, de_ptr, da_ptr, L,
    H: tl.constexpr, A: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
    LP: tl.constexpr, DP: tl.constexpr, CP: tl.constexpr, AP: tl.constexpr, BY_A: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    others, keys, values = tl.arange(0, LP), tl.arange(0, DP), tl.arange(0, CP)
    degrees = tl.arange(0, AP)
    e = tl.load(e_ptr + i * L + others, mask=others < L, other=0.0)
    de = tl.zeros_like(e)
    for h in range(H):
        by_key, by_value = i * L * H * D + h * D, i * L * H * C + h * C
        k = _load(k_ptr + by_key, others, keys, L, D, H * D)
        v = _load(v_ptr + by_value, others, values, L, C, H * C)
        dk, dv = tl.zeros_like(k), tl.zeros_like(v)
        d_bias = tl.zeros([AP], dtype=e.dtype)
        d_factor = tl.zeros([AP], dtype=e.dtype)
        for first in range(0, L, ROWS):
            rows = first + tl.arange(0, ROWS)
            q = _load(q_ptr + by_key, rows, keys, L, D, H * D)
            g = _load(g_ptr + by_value, rows, values, L, C, H * C)
            c = _load(c_ptr + i * L * L, rows, others, L, L, L)
            s, f = _weight_and_factor(q, k, c, a_ptr, h, H, A)
            x = _product(g, tl.trans(v)) * s
            de += tl.sum(x * f, 0)
            by_factor = x * e[None, :]
            by_logit = by_factor * f * (1.0 - s)
            dv += _product(tl.trans(s * f * e[None, :]), g)
            dk += _product(tl.trans(by_logit), q)
            dq = _product(by_logit, k)
            _store(dq_ptr + by_key, dq, rows, keys, L, D, H * D)
            dc = _load(dc_ptr + i * L * L, rows, others, L, L, L)
            t, t_before = tl.zeros_like(c) + 1.0, c
            slope, slope_before = tl.zeros_like(c), tl.zeros_like(c) + 1.0
            for degree in range(A):
                bias = tl.load(a_ptr + h * A + degree)
                factor = tl.load(a_ptr + (H + h) * A + degree)
                dc += (bias * by_logit + factor * by_factor) * slope
                if BY_A:
                    d_bias += tl.where(degrees == degree, tl.sum(by_logit * t), 0.0)
                    d_factor += tl.where(degrees == degree, tl.sum(by_factor * t), 0.0)
                slope, slope_before = 2.0 * (t + c * slope) - slope_before, slope
                t, t_before = 2.0 * c * t - t_before, t
            _store(dc_ptr + i * L * L, dc, rows, others, L, L, L)
        _store(dk_ptr + by_key, dk, others, keys, L, D, H * D)
        _store(dv_ptr + by_value, dv, others, values, L, C, H * C)
        partial = da_ptr + i * 2 * H * A
        tl.store(partial + h * A + degrees, d_bias, mask=degrees < A)
        tl.store(partial + (H + h) * A + degrees, d_factor, mask=degrees < A)
        # The next head adds to the same gradient of the cosines.
        tl.debug_barrier()
    tl.store(de_ptr + i * L + others, de, mask=others < L)


@triton.jit
def _second_gradients(
    g_ptr, q_ptr, k_ptr, v_ptr, c_ptr, e_ptr, a_ptr,
    qt_ptr, kt_ptr, vt_ptr, ct_ptr, et_ptr, at_ptr,
    dg_ptr, dq_ptr, dk_ptr, dv_ptr, dc_ptr, de_ptr, da_ptr, L,
    H: tl.constexpr, A: tl.constexpr, D: tl.constexpr, C: tl.constexpr,
    LP: tl.constexpr, DP: tl.constexpr, CP: tl.constexpr, AP: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    others, keys, values = tl.arange(0, LP), tl.arange(0, DP), tl.arange(0, CP)
    degrees = tl.arange(0, AP)
    e = tl.load(e_ptr + i * L + others, mask=others < L, other=0.0)
    e_t = tl.load(et_ptr + i * L + others, mask=others < L, other=0.0)
    de = tl.zeros_like(e)
    for h in range(H):
        by_key, by_value = i * L * H * D + h * D, i * L * H * C + h * C
        k = _load(k_ptr + by_key, others, keys, L, D, H * D)
        k_t = _load(kt_ptr + by_key, others, keys, L, D, H * D)
        v = _load(v_ptr + by_value, others, values, L, C, H * C)
        v_t = _load(vt_ptr + by_value, others, values, L, C, H * C)
        dk, dv = tl.zeros_like(k), tl.zeros_like(v)
        d_bias = tl.zeros([AP], dtype=e.dtype)
        d_factor = tl.zeros([AP], dtype=e.dtype)
        for first in range(0, L, ROWS):
            rows = first + tl.arange(0, ROWS)
            q = _load(q_ptr + by_key, rows, keys, L, D, H * D)
            q_t = _load(qt_ptr + by_key, rows, keys, L, D, H * D)
            g = _load(g_ptr + by_value, rows, values, L, C, H * C)
            c = _load(c_ptr + i * L * L, rows, others, L, L, L)
            c_t = _load(ct_ptr + i * L * L, rows, others, L, L, L)
            s = _product(q, tl.trans(k))
            s_t = _product(q_t, tl.trans(k)) + _product(q, tl.trans(k_t))
            f, f_t = tl.zeros_like(s), tl.zeros_like(s)
            t, t_before = tl.zeros_like(c) + 1.0, c
            slope, slope_before = tl.zeros_like(c), tl.zeros_like(c) + 1.0
            for degree in range(A):
                bias = tl.load(a_ptr + h * A + degree)
                factor = tl.load(a_ptr + (H + h) * A + degree)
                s += bias * t
                f += factor * t
                s_t += bias * slope * c_t + tl.load(at_ptr + h * A + degree) * t
                f_t += factor * slope * c_t + tl.load(at_ptr + (H + h) * A + degree) * t
                slope, slope_before = 2.0 * (t + c * slope) - slope_before, slope
                t, t_before = 2.0 * c * t - t_before, t
            s = _sigmoid(s)
            rest = 1.0 - s
            x = _product(g, tl.trans(v)) * s
            y = _product(g, tl.trans(v_t)) * s
            fe = f * e[None, :]
            fe_t = f_t * e[None, :] + f * e_t[None, :]
            inner = x * s_t * rest + y
            de += tl.sum(inner * f + x * f_t, 0)
            # By the logit and the factor, and by their tangents.
            by_logit = rest * (inner * fe + x * (fe_t - s_t * s * fe))
            by_factor = inner * e[None, :] + x * e_t[None, :]
            by_logit_t = x * fe * rest
            by_factor_t = x * e[None, :]
            w, w_t = s * fe, s * (s_t * rest * fe + fe_t)
            dg = _product(w_t, v) + _product(w, v_t)
            _store(dg_ptr + by_value, dg, rows, values, L, C, H * C)
            dq = _product(by_logit, k) + _product(by_logit_t, k_t)
            _store(dq_ptr + by_key, dq, rows, keys, L, D, H * D)
            dk += _product(tl.trans(by_logit), q) + _product(tl.trans(by_logit_t), q_t)
            dv += _product(tl.trans(w_t), g)
            dc = _load(dc_ptr + i * L * L, rows, others, L, L, L)
            t, t_before = tl.zeros_like(c) + 1.0, c
            slope, slope_before = tl.zeros_like(c), tl.zeros_like(c) + 1.0
            curve, curve_before = tl.zeros_like(c), tl.zeros_like(c)
            for degree in range(A):
                bias = tl.load(a_ptr + h * A + degree)
                factor = tl.load(a_ptr + (H + h) * A + degree)
                dc += (bias * by_logit + factor * by_factor) * slope
                dc += (bias * by_logit_t + factor * by_factor_t) * curve * c_t
                dc += tl.load(at_ptr + h * A + degree) * by_logit_t * slope
                dc += tl.load(at_ptr + (H + h) * A + degree) * by_factor_t * slope
                here, moved = degrees == degree, slope * c_t
                d_bias += tl.where(here, tl.sum(by_logit * t + by_logit_t * moved), 0.0)
                d_factor += tl.where(here, tl.sum(by_factor * t + by_factor_t * moved), 0.0)
                curve, curve_before = 4.0 * slope + 2.0 * c * curve - curve_before, curve
                slope, slope_before = 2.0 * (t + c * slope) - slope_before, slope
                t, t_before = 2.0 * c * t - t_before, t
            _store(dc_ptr + i * L * L, dc, rows, others, L, L, L)
        _store(dk_ptr + by_key, dk, others, keys, L, D, H * D)
        _store(dv_ptr + by_value, dv, others, values, L, C, H * C)
        partial = da_ptr + i * 2 * H * A
        tl.store(partial + h * A + degrees, d_bias, mask=degrees < A)
        tl.store(partial + (H + h) * A + degrees, d_factor, mask=degrees < A)
        # The next head adds to the same gradient of the cosines.
        tl.debug_barrier()
    tl.store(de_ptr + i * L + others, de, mask=others < L)


def forward(
    q: Tensor, k: Tensor, v: Tensor, cosines: Tensor, envelope: Tensor, angular: Tensor
) -> Tensor:
    """``out``."""
    inputs = [x.contiguous() for x in (q, k, v, cosines, envelope, angular)]
    out = torch.empty_like(inputs[2])
    atoms = len(q)
    if atoms > 0:
        sizes = _sizes(q, v, angular)
        with torch.cuda.device_of(q):  # Triton launches on the present GPU, wherever tensors are
            _forward[(atoms,)](*inputs, out, q.shape[1], **sizes, num_warps=WARPS)
    return out


def gradients(by_angular: bool, g: Tensor, *arguments: Tensor) -> list[Tensor]:
    """Of the six arguments; zero of the last unless ``by_angular``, whose sums take two fifths of the time."""
    sums = by_angular and _padded(arguments[0].shape[1]) <= NARROW
    warps = WARPS_OF_SUMS if sums else WARPS
    return _launch(_gradients, [g, *arguments], [], 1, warps, BY_A=by_angular)


def second_gradients(given: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    """Of ``g`` and the six arguments."""
    return _launch(_second_gradients, given, tangents, 0, WARPS)


def _launch(
    kernel: Any,
    given: list[Tensor],
    tangents: list[Tensor],
    first: int,
    warps: int,
    **settings: bool,
) -> list[Tensor]:
    """A kernel that gives gradients by ``given[first:]``: g, q, k, v, cosines, envelope, angular."""
    inputs = [x.contiguous() for x in (*given, *tangents)]
    _, q, _, v, cosines, _, angular = inputs[:7]
    atoms = len(q)
    found = [torch.empty_like(x) for x in inputs[first:4]]
    by_angular = angular.new_empty(atoms, *angular.shape)
    found += [torch.zeros_like(cosines), torch.empty_like(inputs[5]), by_angular]
    if atoms > 0:
        sizes = _sizes(q, v, angular) | {"AP": _padded(angular.shape[1])} | settings
        with torch.cuda.device_of(q):
            kernel[(atoms,)](*inputs, *found, q.shape[1], **sizes, num_warps=warps)
    return [*found[:-1], by_angular.sum(0)]


def _sizes(q: Tensor, v: Tensor, angular: Tensor) -> dict[str, int]:
    """Heads, polynomials, widths of a head; what L and the widths are padded to."""
    heads, polynomials = angular.shape[0] // 2, angular.shape[1]
    keys, values = q.shape[2] // heads, v.shape[2] // heads
    return {
        "H": heads, "A": polynomials, "D": keys, "C": values,
        "LP": _padded(q.shape[1]), "DP": _padded(keys), "CP": _padded(values),
    }  # fmt: skip
