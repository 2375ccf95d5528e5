"""Edges of one centre attending to each other: the products of the line graph, [heads, atoms, L, L].

    out_p = Σ_q σ(q_p·k_q + b(θ_pq))·f(θ_pq)·e_q·v_q,   b = Σ_l B_hl·T_l(θ_pq),   f = Σ_l F_hl·T_l(θ_pq)

On a CPU it is a few products of PyTorch, which keep what their derivatives read: three forms that keep nothing were
slower there or no faster (docs/experiments.md). On a GPU with Triton it is an operator that goes through the pairs of
an edge in registers, forward, back and back once more, and keeps its inputs alone; of the angles it reads the cosines.

Shapes, everywhere: q and k [n, L, H·d], v and out [n, L, H·c], angles T [A, n, L, L] or the cosines T_1 of θ alone
[n, L, L], envelope e [n, L], angular (B, then F) [2·H, A].
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from janus_md.ops.group_products import asked

HAS_TRITON = find_spec("triton") is not None
WIDEST = 32
"""Channels of a head that a thread's registers hold; wider ones are left to the products, which they suit."""


def fits(q: Tensor, v: Tensor, angular: Tensor) -> bool:
    """Whether the operator takes these shapes."""
    heads, polynomials = angular.shape[0] // 2, angular.shape[1]
    widest = max(q.shape[2], v.shape[2]) // heads
    # The cosine is the second of the polynomials.
    return HAS_TRITON and q.shape[1] >= 1 and polynomials >= 2 and widest <= WIDEST


def line_attention(
    q: Tensor, k: Tensor, v: Tensor, angles: Tensor, envelope: Tensor, angular: Tensor
) -> Tensor:
    """``out``, with first and second derivatives by every argument. q: already divided by √d."""
    # Exported files hold PyTorch's operators alone; TorchScript reads on behind an `and`, but not into this branch.
    if not torch.jit.is_scripting():  # noqa: SIM102
        if q.is_cuda and fits(q, v, angular):
            return fused_line_attention(q, k, v, angles[1], envelope, angular)
    return plain_line_attention(q, k, v, angles, envelope, angular)


def plain_line_attention(
    q: Tensor, k: Tensor, v: Tensor, angles: Tensor, envelope: Tensor, angular: Tensor
) -> Tensor:
    """The same as products that autograd differentiates."""
    heads = angular.shape[0] // 2
    series = torch.matmul(angular, angles.flatten(1))
    series = series.view(2 * heads, angles.shape[1], angles.shape[2], angles.shape[3])
    bias, factor = torch.split(series, heads)
    logits = torch.matmul(_by_head(q, heads), _by_head(k, heads).transpose(-1, -2)) + bias
    weights = torch.sigmoid(logits) * envelope[None, :, None, :]
    summed = torch.matmul(weights * factor, _by_head(v, heads))
    return summed.permute(1, 2, 0, 3).reshape(v.shape)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """[n, L, H·d] → [H, n, L, d]."""
    return x.view(x.shape[0], x.shape[1], heads, x.shape[2] // heads).permute(2, 0, 1, 3)


@torch.library.custom_op("janus::line_attention", mutates_args=())
def fused_line_attention(
    q: Tensor, k: Tensor, v: Tensor, cosines: Tensor, envelope: Tensor, angular: Tensor
) -> Tensor:
    """``out`` by a kernel that stores nothing else."""
    from janus_md.ops import line_attention_triton

    return line_attention_triton.forward(q, k, v, cosines, envelope, angular)


@torch.library.custom_op("janus::line_attention_gradients", mutates_args=())
def line_attention_gradients(
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cosines: Tensor,
    envelope: Tensor,
    angular: Tensor,
    by_angular: bool,
) -> list[Tensor]:
    """Gradient ``g`` of ``out`` → those of the six arguments; zero by ``angular`` where that is not asked for."""
    from janus_md.ops import line_attention_triton

    return line_attention_triton.gradients(by_angular, g, q, k, v, cosines, envelope, angular)


@torch.library.custom_op("janus::line_attention_second_gradients", mutates_args=())
def line_attention_second_gradients(given: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    """Gradients of ⟨tangents, line_attention_gradients(*given)⟩ by the seven given ones: g and the six arguments."""
    from janus_md.ops import line_attention_triton

    return line_attention_triton.second_gradients(given, tangents)


@fused_line_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, cosines: Tensor, envelope: Tensor, angular: Tensor
) -> Tensor:
    return torch.empty_like(v, memory_format=torch.contiguous_format)


@line_attention_gradients.register_fake
def _(g: Tensor, *arguments: Any) -> list[Tensor]:
    return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in arguments[:-1]]


@line_attention_second_gradients.register_fake
def _(given: list[Tensor], tangents: list[Tensor]) -> list[Tensor]:
    return [torch.empty_like(x, memory_format=torch.contiguous_format) for x in given]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*(x for x in inputs if isinstance(x, Tensor)))


def _backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
    (by_angular,) = asked(ctx, [5])
    return tuple(line_attention_gradients(g, *ctx.saved_tensors, by_angular))


def _second_backward(ctx: Any, tangents: list[Tensor]) -> tuple[Tensor | None, ...]:
    return *line_attention_second_gradients(list(ctx.saved_tensors), tangents), None


fused_line_attention.register_autograd(_backward, setup_context=_save)
line_attention_gradients.register_autograd(_second_backward, setup_context=_save)
