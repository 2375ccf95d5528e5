"""Line attention: its products, and the kernels beside them, on a GPU or by Triton's interpreter on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from ase.build import bulk
from ops_support import lines_of
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from janus_md.graph import batch_graphs, build_graph
from janus_md.graph.tables import keep_together
from janus_md.model import MatRISMoE, line_attention, predict, preset
from janus_md.model.basis import chebyshev
from janus_md.model.engine import Engine
from janus_md.ops import fused_line_attention, plain_line_attention
from janus_md.ops.line_attention import (
    HAS_TRITON,
    fits,
    line_attention_gradients,
    line_attention_second_gradients,
)
from janus_training.staged import Sizes, StagedDerivatives

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = {
    "one edge": (1, 1, 1, 2, 2, 2),
    "odd widths": (3, 5, 2, 4, 3, 6),
    "two programs": (17, 8, 1, 4, 5, 3),
}
"""Atoms, L, heads, widths of a key and a value, polynomials."""

needs_triton = pytest.mark.skipif(
    not HAS_TRITON, reason="the kernels are written in Triton, which is not installed"
)


def arguments(shape: tuple[int, ...]) -> list[Tensor]:
    atoms, slots, heads, keys, values, polynomials = shape
    torch.manual_seed(0)
    drawn = [
        torch.randn(atoms, slots, heads * keys),
        torch.randn(atoms, slots, heads * keys),
        torch.randn(atoms, slots, heads * values),
        2.0 * torch.rand(atoms, slots, slots) - 1.0,
        torch.rand(atoms, slots),
        torch.randn(2 * heads, polynomials),
    ]
    return [x.to(DEVICE, torch.float64).requires_grad_() for x in drawn]


def products(
    q: Tensor, k: Tensor, v: Tensor, cosines: Tensor, envelope: Tensor, angular: Tensor
) -> Tensor:
    """What the kernels compute, from the cosines too, by products that autograd differentiates."""
    angles = chebyshev(cosines, angular.shape[1])
    return plain_line_attention(q, k, v, angles, envelope, angular)


def all_orders(function, given: list[Tensor]) -> list[Tensor]:
    """The result, its gradients, and gradients of those, for fixed directions."""
    result = function(*given)
    torch.manual_seed(1)
    g = torch.randn_like(result).requires_grad_()
    first = torch.autograd.grad(result, given, g, create_graph=True)
    # Not like the gradients, which lie in memory as they were computed.
    directions = [torch.randn(x.shape, dtype=x.dtype, device=x.device) for x in first]
    second = torch.autograd.grad(first, [g, *given], directions)
    return [x.detach() for x in (result, *first, *second)]


def test_is_the_sum_over_pairs() -> None:
    """Written out with loops."""
    q, k, v, cosines, envelope, angular = arguments((2, 3, 2, 4, 3, 5))
    angles = chebyshev(cosines, 5)
    found = plain_line_attention(q, k, v, angles, envelope, angular)
    for atom in range(2):
        for head in range(2):
            keys, values = slice(4 * head, 4 * head + 4), slice(3 * head, 3 * head + 3)
            for p in range(3):
                total = torch.zeros(3, dtype=torch.float64, device=DEVICE)
                for other in range(3):
                    t = angles[:, atom, p, other]
                    logit = q[atom, p, keys] @ k[atom, other, keys] + angular[head] @ t
                    weight = torch.sigmoid(logit) * (angular[2 + head] @ t) * envelope[atom, other]
                    total = total + weight * v[atom, other, values]
                torch.testing.assert_close(found[atom, p, values], total)


def test_derivatives_of_the_products() -> None:
    given = arguments((2, 3, 1, 2, 2, 3))
    assert gradcheck(products, given)
    assert gradgradcheck(products, given)


@needs_triton
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_kernels_agree_with_the_products(shape: tuple[int, ...]) -> None:
    """Results and first and second derivatives by everything, to rounding."""
    given = arguments(shape)
    expected = all_orders(products, given)
    for mine, theirs in zip(all_orders(fused_line_attention, given), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@needs_triton
def test_derivatives_of_the_kernels() -> None:
    given = arguments((1, 2, 1, 2, 1, 2))
    assert gradcheck(fused_line_attention, given, fast_mode=True)
    assert gradgradcheck(fused_line_attention, given, fast_mode=True)


@needs_triton
def test_rows_that_lie_apart_in_memory() -> None:
    """Queries, keys and values are slices of one projection."""
    q, k, v, *others = arguments((2, 3, 2, 4, 3, 5))
    together = torch.cat([q, k, v], dim=-1).detach()
    slices = torch.split(together, [8, 8, 6], dim=-1)
    torch.testing.assert_close(fused_line_attention(*slices, *others), products(q, k, v, *others))


@needs_triton
def test_no_atoms() -> None:
    given = arguments((0, 3, 2, 4, 3, 5))
    found = all_orders(fused_line_attention, given)
    assert [x.shape for x in found] == [x.shape for x in all_orders(products, given)]
    assert not found[6].any()


@needs_triton
def test_kernels_run_on_the_gpu_of_their_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which need not be the present one; there need not be two GPUs to see that they ask for it."""
    from janus_md.ops import line_attention_triton as kernels

    chosen: list[Tensor] = []

    @contextmanager
    def device_of(tensor: Tensor) -> Iterator[None]:
        chosen.append(tensor)
        yield
        chosen.pop()

    class Watched:
        """A kernel that only runs where a tensor of its own has said on which GPU."""

        def __init__(self, kernel: Any) -> None:
            self._kernel = kernel

        def __getitem__(self, grid: tuple[int, int]) -> Callable[..., None]:
            def run(*given: Any, **sizes: Any) -> None:
                assert any(
                    x is chosen[-1] or x.data_ptr() == chosen[-1].data_ptr() for x in given[:8]
                )
                self._kernel[grid](*given, **sizes)

            return run

    for kernel in kernels.KERNELS:
        monkeypatch.setattr(kernels, kernel.__name__, Watched(kernel))
    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    all_orders(fused_line_attention, arguments((2, 3, 1, 2, 2, 2)))


@needs_triton
def test_registration() -> None:
    """Schema, fake shapes and dispatch, as torch.library itself checks them."""
    given = [x.detach() for x in arguments((2, 3, 1, 2, 2, 2))]
    g = torch.randn_like(given[2])
    torch.library.opcheck(fused_line_attention, tuple(given))
    torch.library.opcheck(line_attention_gradients, (g, *given, True))
    torch.library.opcheck(line_attention_second_gradients, ([g, *given], given))


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("traced", [False, True])
def test_a_model_trains_alike_with_the_kernels(
    traced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Energies, forces and the gradient of a loss of forces by every parameter; traced for ``train.compile``, too."""
    silicon = bulk("Si", cubic=True)
    silicon.rattle(0.1, seed=0)
    torch.manual_seed(0)
    dense = {"num_message_experts": 0, "num_feature_experts": 0, "line_cutoff": 2.9}
    model = MatRISMoE(preset("tiny", elements=["Si"], **dense)).double().to(DEVICE)
    graph = build_graph(silicon, model.config.cutoff, model.config.line_cutoff)
    batch = batch_graphs([graph, graph], layout=keep_together).to(DEVICE)

    def step(engine: Engine | None = None) -> list[Tensor]:
        model.zero_grad()
        found = predict(model, batch, training=True, engine=engine)
        (found.energy.sum() + found.forces.square().sum()).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        return [found.energy.detach(), found.forces.detach(), *gradients]

    expected = step()
    calls, sums = [], []
    from janus_md.ops import line_attention_triton as kernels

    gradients = kernels.gradients

    def noted(by_angular: bool, *given: Tensor) -> list[Tensor]:
        sums.append(by_angular)
        return gradients(by_angular, *given)

    monkeypatch.setattr(kernels, "gradients", noted)

    def fused(
        q: Tensor, k: Tensor, v: Tensor, angles: Tensor, envelope: Tensor, angular: Tensor
    ) -> Tensor:
        calls.append(q.shape)
        return fused_line_attention(q, k, v, angles[1], envelope, angular)

    monkeypatch.setattr(line_attention, "line_attention", fused)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    engine = StagedDerivatives(model, Sizes.of(batch)) if traced else None
    sums.clear()
    for mine, theirs in zip(step(engine), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-10)
    blocks = model.config.num_line_blocks
    assert len(calls) == blocks
    # Forces ask for no gradient by the polynomials' coefficients; the loss of energies does.
    assert sums == [False] * blocks + [True] * blocks


@needs_triton
@pytest.mark.parametrize(
    ("slots", "keys", "values", "polynomials", "taken"),
    [
        (1, 32, 32, 2, True),
        (200, 8, 16, 9, True),
        (0, 8, 8, 9, False),
        (9, 33, 8, 9, False),
        (9, 8, 33, 9, False),
        (9, 8, 8, 1, False),
    ],
)
def test_what_the_kernels_are_given(
    slots: int, keys: int, values: int, polynomials: int, taken: bool
) -> None:
    """Heads that a thread's registers hold, polynomials with a cosine among them, edges that attend."""
    q, v = torch.zeros(1, slots, 2 * keys), torch.zeros(1, slots, 2 * values)
    assert fits(q, v, torch.zeros(4, polynomials)) == taken


COMPILE = """
from janus_md.ops import line_attention_triton as kernels
from ops_support import compiled

for kernel in kernels.KERNELS:
    asm = compiled(kernel, {"H": 8, "A": 9, "D": 16, "C": 12, "BY_A": True}, kernels.WARPS)
    # A program that exchanges what a pair has between threads would take a layout apart and put it together.
    assert "convert_layout" not in asm["ttgir"], kernel.__name__
    assert ".local" not in asm["ptx"], kernel.__name__
    print(kernel.__name__, len(asm["cubin"]))
"""


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90])
def test_kernels_compile_for_a_gpu(architecture: int) -> None:
    """To machine code, by the compiler that Triton brings, for which no GPU has to be there.

    With the widths of `10m` a thread has all of its edge to itself.
    """
    assert len(lines_of(COMPILE, architecture)) == 5
