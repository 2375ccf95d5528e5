"""Forces, stress and per-atom virials against central differences of the energy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from janus_md.graph import batch_graphs, build_graph, tables
from janus_md.model import derivatives, predict

STEP = 1e-4


def slope_of(function: Callable[[float], float], step: float = STEP) -> float:
    """Derivative at zero by central differences of fourth order."""
    near = function(step) - function(-step)
    far = function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


def test_forces_are_the_slope_of_the_energy(evaluate, crystal, molecule) -> None:
    slab = crystal.copy()
    slab.pbc = [True, True, False]
    slab.center(vacuum=5.0, axis=2)
    for atoms in (crystal, molecule, slab):
        forces = evaluate(atoms).forces.numpy()
        for atom, axis in [(0, 0), (1, 2), (len(atoms) - 1, 1)]:

            def energy(offset: float, atoms=atoms, atom=atom, axis=axis) -> float:
                moved = atoms.copy()
                moved.positions[atom, axis] += offset
                return evaluate.energy(moved)

            assert abs(slope_of(energy) + forces[atom, axis]) < 1e-6


def test_stress_is_the_slope_of_the_energy_under_strain(evaluate, crystal) -> None:
    stress = evaluate(crystal, stress=True).stress[0].numpy()
    np.testing.assert_allclose(stress, stress.T, atol=1e-14)
    for a, b in [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]:

        def energy(size: float, a=a, b=b) -> float:
            strain = np.eye(3)
            strain[a, b] += 0.5 * size
            strain[b, a] += 0.5 * size
            deformed = crystal.copy()
            deformed.set_cell(crystal.cell.array @ strain, scale_atoms=True)
            return evaluate.energy(deformed)

        assert abs(slope_of(energy) / crystal.get_volume() - stress[a, b]) < 1e-7


def test_forces_sum_to_zero_and_virials_to_the_stress(evaluate, crystal) -> None:
    found = evaluate(crystal, stress=True)
    np.testing.assert_allclose(found.forces.sum(0).numpy(), 0.0, atol=1e-10)
    total = -found.virials.sum(0) / crystal.get_volume()
    np.testing.assert_allclose(total.numpy(), found.stress[0].numpy(), atol=1e-14)
    assert abs(float(found.energies.sum()) - float(found.energy[0])) < 1e-10


def test_second_derivatives_of_a_force_loss(model, molecule) -> None:
    """Parameter gradients of a loss on the forces against differences of that loss."""
    config = model.config
    graphs = batch_graphs([build_graph(molecule, config.cutoff, config.line_cutoff)])

    def loss() -> torch.Tensor:
        return (predict(model, graphs, training=True).forces ** 2).sum()

    model.zero_grad()
    loss().backward()
    for name in (
        next(name for name, _ in model.named_parameters() if "attention.experts" in name),
        "blocks.1.attention.filter.weight",
        "heads.energy.out.weight",
    ):
        parameter = model.get_parameter(name)
        gradient = parameter.grad
        place = np.unravel_index(int(gradient.abs().argmax()), gradient.shape)
        start = parameter.detach()[place].clone()

        def moved_loss(offset: float, parameter=parameter, place=place, start=start) -> float:
            with torch.no_grad():
                parameter[place] = start + offset
            value = float(loss().detach())
            with torch.no_grad():
                parameter[place] = start
            return value

        slope = slope_of(moved_loss)
        assert abs(slope - float(gradient[place])) <= 1e-6 * max(1.0, abs(slope)), name
    model.zero_grad()


def test_recomputed_blocks_give_the_same_forces(evaluate, crystal, molecule, monkeypatch) -> None:
    kept = evaluate(crystal, molecule)
    monkeypatch.setattr(derivatives, "KEPT", 0)
    monkeypatch.setattr(tables, "LARGEST_BUCKET", 50)
    monkeypatch.setattr(tables, "SMALLEST_BUCKET", 1)
    again = evaluate(crystal, molecule)
    np.testing.assert_allclose(again.energy.numpy(), kept.energy.numpy(), atol=1e-11)
    np.testing.assert_allclose(again.forces.numpy(), kept.forces.numpy(), atol=1e-10)
