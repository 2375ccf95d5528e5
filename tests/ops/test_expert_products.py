"""The expert products are each other's derivatives, to second order, eagerly and traced, in both of their forms."""

from contextlib import contextmanager

import pytest
import torch
from ops_support import lines_of
from torch.autograd import gradcheck, gradgradcheck

from janus_md.ops import expert_contract, expert_expand, expert_outer, expert_products

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
OPERATORS = "expand", "contract", "outer"
NUM_EXPERTS = 4


needs_triton = pytest.mark.skipif(
    not expert_products.HAS_TRITON,
    reason="the kernels are written in Triton, which is not installed",
)


@pytest.fixture(params=["products", pytest.param("kernels", marks=needs_triton)])
def form(request, monkeypatch):
    """A product of PyTorch for each expert, or the kernels, on a GPU or by Triton's interpreter."""
    taken = request.param == "kernels"
    monkeypatch.setattr(expert_products, "in_one_launch", lambda *_: taken)
    return request.param


@pytest.fixture
def experts():
    """Two experts a row; expert 3 has none."""
    return torch.tensor([[0, 2], [2, 1], [1, 0], [0, 2], [2, 0]], device=DEVICE)


def loads(experts, number=NUM_EXPERTS):
    return torch.bincount(experts.flatten().cpu(), minlength=number)


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64, device=DEVICE, requires_grad=True)


def cases(experts):
    rows, active = experts.shape
    x, h = leaf(rows, 3, 4), leaf(rows, active, 3, 5)
    table = experts, loads(experts)
    return {
        "expand": (lambda x, w: expert_expand(x, w, *table), (x, leaf(NUM_EXPERTS, 4, 5))),
        "contract": (lambda h, w: expert_contract(h, w, *table), (h, leaf(NUM_EXPERTS, 5, 4))),
        "outer": (lambda x, h: expert_outer(x, h, *table), (x, h)),
    }


@pytest.mark.parametrize("name", OPERATORS)
def test_first_and_second_derivatives(name, experts, form):
    torch.manual_seed(0)
    function, inputs = cases(experts)[name]
    fast = form == "kernels"  # along random directions: Triton's interpreter takes its time
    assert gradcheck(function, inputs, fast_mode=fast)
    assert gradgradcheck(function, inputs, fast_mode=fast)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.usefixtures("form")
def test_agrees_with_weights_gathered_per_row(name, experts):
    torch.manual_seed(1)
    function, inputs = cases(experts)[name]
    torch.testing.assert_close(function(*inputs), gathered(name, experts, *inputs))


def gathered(name, experts, first, second, number=NUM_EXPERTS):
    """The products written with a copy of the weights for each row."""
    return {
        "expand": lambda: torch.einsum("nki,njio->njko", first, second[experts]),
        "contract": lambda: torch.einsum("njkh,njho->nko", first, second[experts]),
        "outer": lambda: first.new_zeros(number, first.shape[-1], second.shape[-1]).index_add(
            0, experts.flatten(), torch.einsum("nki,njko->njio", first, second).flatten(0, 1)
        ),
    }[name]()


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.usefixtures("form")
def test_registration(name, experts):
    """Schema, fake shapes and dispatch, as torch.library itself checks them."""
    operator = {"expand": expert_expand, "contract": expert_contract, "outer": expert_outer}[name]
    inputs = cases(experts)[name][1]
    torch.library.opcheck(operator, (*inputs, experts, loads(experts)))


def test_forces_ask_for_no_gradient_by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products for it are done once, in the backward pass of the loss, and not in that of the energies."""
    called = []
    honest = expert_products.expert_outer
    monkeypatch.setattr(expert_products, "expert_outer", lambda *a: called.append(1) or honest(*a))
    x = torch.randn(3, 2, 4, requires_grad=True)
    weights = torch.randn(5, 4, 6, requires_grad=True)
    experts = torch.tensor([[0], [3], [3]])
    table = experts, loads(experts, 5)
    energy = expert_products.expert_expand(x, weights, *table).sin().sum()
    (force,) = torch.autograd.grad(energy, x, create_graph=True)
    assert not called
    force.square().sum().backward()
    assert called and weights.grad is not None
    again = expert_products.expert_expand(x, weights, *table)
    (by_leaf,) = torch.autograd.grad(again.sum(), weights)
    assert by_leaf.abs().sum() > 0


SHAPES = {
    "no rows": (0, 3, 3, 2, 4, 5),
    "one of each": (1, 1, 1, 1, 1, 1),
    "full tiles": (64, 2, 4, 2, 64, 64),
    "odd widths, several tiles": (70, 3, 5, 2, 70, 130),
    "rows summed in parts": (600, 1, 2, 1, 8, 8),
    "one expert has all": (40, 2, 3, 3, 5, 6),
}
"""Rows, slots, experts, active ones, widths."""


@needs_triton
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_at_all_sizes(shape, dtype, monkeypatch):
    """The last expert has no rows unless all are active; weights of gradients lie transposed."""
    monkeypatch.setattr(expert_products, "in_one_launch", lambda *_: True)
    rows, slots, number, active, inputs, outputs = shape
    torch.manual_seed(0)
    choices = max(number - 1, active)
    experts = torch.stack([torch.randperm(choices)[:active] for _ in range(max(rows, 1))])[:rows]

    def drawn(*size):
        return torch.randn(*size).to(DEVICE, dtype)

    x, h = drawn(rows, slots, inputs), drawn(rows, active, slots, outputs)
    weights = drawn(number, outputs, inputs).transpose(1, 2)
    table = experts.to(DEVICE), loads(experts, number)
    given = {"expand": (x, weights), "contract": (h, weights.transpose(1, 2)), "outer": (x, h)}
    for name, function in zip(
        OPERATORS, (expert_expand, expert_contract, expert_outer), strict=True
    ):
        exact = gathered(name, table[0], *(v.double() for v in given[name]), number)
        digits = 1e-5 if dtype is torch.float32 else 1e-13
        size = float(exact.abs().max()) if exact.numel() else 0.0
        torch.testing.assert_close(
            function(*given[name], *table).double(), exact, rtol=0.0, atol=digits * (size + 1.0)
        )


@needs_triton
def test_long_sums_are_shared_among_programs():
    from janus_md.ops import expert_products_triton as kernels

    assert kernels.parts(600, 2, 1, kernels.OUTER) > 1
    assert kernels.parts(600, 200, 4, kernels.OUTER) == 1


@needs_triton
def test_kernels_run_on_the_gpu_of_their_tensors(experts, monkeypatch):
    """Which need not be the present one; there need not be two GPUs to see that they ask for it."""
    from janus_md.ops import expert_products_triton as kernels

    asked = []

    @contextmanager
    def device_of(tensor):
        asked.append(tensor.shape)
        yield

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    x, h, w = leaf(5, 3, 4), leaf(5, 2, 3, 5), leaf(NUM_EXPERTS, 4, 5)
    kernels.products(x, w, experts)
    kernels.outers(x, h, experts, NUM_EXPERTS)
    assert asked == [x.shape, x.shape]


def test_who_is_launched_once():
    """Nothing on a CPU; on a GPU experts that are not large."""
    x = torch.zeros(2, 1, 8)
    assert not expert_products.in_one_launch(x, 8, 8)
    if torch.cuda.is_available() and expert_products.HAS_TRITON:
        assert expert_products.in_one_launch(x.cuda(), 1024, 2048)
        assert not expert_products.in_one_launch(x.cuda(), 1024, 2049)


COMPILE = """
from janus_md.ops import expert_products_triton as kernels
from ops_support import compiled

for kernel, tile in ((kernels._products, kernels.PRODUCT), (kernels._outers, kernels.OUTER)):
    sizes = {"EXPERTS": 8, "ROWS": tile.rows, "COLUMNS": tile.columns, "INNER": tile.inner}
    asm = compiled(kernel, sizes, tile.warps, {"order_ptr": "*i64", "ends_ptr": "*i64"})
    assert "tf32" not in asm["ptx"]
    print(len(asm["cubin"]))
"""


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90])
def test_kernels_compile_for_a_gpu(architecture):
    """To machine code, by the compiler that Triton brings, for which no GPU has to be there; in single precision."""
    assert len(lines_of(COMPILE, architecture)) == 2
