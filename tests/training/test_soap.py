"""SOAP: Adam's updates in the eigenbases of a matrix's gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from janus_training import soap
from janus_training.soap import Soap


def trained(weight: Tensor, gradient, optimizer: type, steps: int, lr: float) -> Tensor:
    """The weight after some steps along ``gradient(weight)``."""
    parameter = torch.nn.Parameter(weight.clone())
    vector = torch.nn.Parameter(torch.ones(3, dtype=weight.dtype))
    given = ([parameter], [vector]) if optimizer is Soap else ([parameter, vector],)
    chosen = optimizer(*given, lr=lr, weight_decay=0.0)
    for _ in range(steps):
        parameter.grad = gradient(parameter.detach())
        chosen.step()
    return parameter.detach()


def stretched(size: int, seed: int) -> Tensor:
    """A symmetric matrix with eigenvalues from 0.01 to 1 in random directions."""
    torch.manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64))
    return basis * torch.logspace(-2, 0, size, dtype=torch.float64) @ basis.mT


def test_a_stretched_valley_takes_fewer_steps_than_with_adam() -> None:
    """½‖A(W−X)B‖², whose valleys lie along no entry of W."""
    a, b = stretched(12, 0), stretched(9, 1)
    goal = torch.randn(12, 9, dtype=torch.float64)

    def gradient(weight: Tensor) -> Tensor:
        return a @ a @ (weight - goal) @ b @ b

    def left(optimizer: type) -> float:
        found = trained(torch.zeros_like(goal), gradient, optimizer, 400, 1e-2)
        return float((a @ (found - goal) @ b).square().sum())

    assert left(Soap) < 0.2 * left(torch.optim.AdamW)


def test_the_bases_tend_to_the_eigenvectors_of_the_products() -> None:
    torch.manual_seed(2)
    a, b = stretched(12, 2), stretched(9, 3)
    weight = torch.nn.Parameter(torch.zeros(12, 9, dtype=torch.float64))
    optimizer = Soap([weight], [torch.nn.Parameter(torch.ones(1))], lr=1e-2, beta=0.999)
    for _ in range(3000):
        weight.grad = a @ torch.randn(12, 9, dtype=torch.float64) @ b
        optimizer.step()
    for side, expected in (("left", a @ a), ("right", b @ b)):
        basis = optimizer.state[weight][f"{side}_basis"]
        torch.testing.assert_close(basis.mT @ basis, torch.eye(len(basis), dtype=basis.dtype))
        found = (basis.mT @ expected @ basis).diagonal()
        exact = torch.linalg.eigvalsh(expected).flip(-1)
        torch.testing.assert_close(found, exact, rtol=0.1, atol=0.0)


@pytest.mark.parametrize("longest", [2048, 5, 3])
def test_a_stack_is_trained_as_its_matrices(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one side or both keep their own basis."""
    monkeypatch.setattr(soap, "LONGEST", longest)
    torch.manual_seed(4)
    stack, goal = torch.randn(2, 3, 6, 4, dtype=torch.float64)

    def towards(goal: Tensor):
        return lambda weight: weight - goal

    together = trained(stack, towards(goal), Soap, 23, 1e-2)
    for matrix, end, found in zip(stack, goal, together, strict=True):
        torch.testing.assert_close(trained(matrix, towards(end), Soap, 23, 1e-2), found)
        assert float((found - end).norm()) < float((matrix - end).norm())


def test_the_first_gradient_moves_nothing_and_later_steps_are_as_large_as_adams() -> None:
    torch.manual_seed(5)
    weight = torch.nn.Parameter(torch.zeros(64, 48))
    optimizer = Soap([weight], [torch.nn.Parameter(torch.ones(1))], lr=1e-2)
    for step in range(25):
        before = weight.detach().clone()
        weight.grad = torch.randn(64, 48) * 1e-4
        optimizer.step()
        size = float((weight.detach() - before).square().mean().sqrt())
        assert 0.1e-2 < size < 1.05e-2 if step else size == 0.0


def test_averages_and_bases_lie_in_memory_as_a_checkpoint_gives_them_back() -> None:
    """Row by row: products of matrices that lie otherwise differ in the last bits on some processors."""
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(3, 6, 4))
    optimizer = Soap([weight], [torch.nn.Parameter(torch.zeros(1))], lr=1e-2)
    for _ in range(soap.REFRESH + 1):
        weight.grad = torch.randn(3, 4, 6).mT
        optimizer.step()
    state = {key: value for key, value in optimizer.state[weight].items() if torch.is_tensor(value)}
    assert len(state) >= 6
    assert [key for key, value in state.items() if not value.is_contiguous()] == []
