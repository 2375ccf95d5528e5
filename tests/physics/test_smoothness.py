"""A neighbour that crosses a cutoff by ±1e-6 Å: energy jump < 1e-9 eV, force jump < 1e-6 eV/Å."""

from __future__ import annotations

import copy
from collections.abc import Callable

import ase
import numpy as np
import pytest
import torch

from janus_md.graph import build_graph
from janus_md.model import geometry

CROSSING = 1e-6

BEND = 2e-5
"""eV/Å², the largest difference of the energy's second derivatives on the two sides of a cutoff."""


@pytest.fixture(params=[1.0, 2.0], ids=["weights", "doubled-weights"])
def scaled(request, evaluate):
    other = copy.copy(evaluate)
    other.model = copy.deepcopy(evaluate.model)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.mul_(request.param)
    return other


def jump(values: list[np.ndarray]) -> float:
    """What a smooth function of x cannot do between −δ and δ.

    ``values`` at −3δ, −δ, δ, 3δ; the change between −δ and δ less the mean of the changes on either side.
    """
    outer_left, left, right, outer_right = values
    beside = ((left - outer_left) + (outer_right - right)) / 2
    return float(np.abs(right - left - beside).max())


def jumps(evaluate, place: Callable[[float], ase.Atoms]) -> tuple[float, float]:
    """Jumps of energy (eV) and forces (eV/Å) of the structures ``place(offset)`` at offset zero."""
    found = [evaluate(place(factor * CROSSING)) for factor in (-3, -1, 1, 3)]
    return (
        jump([result.energy.numpy() for result in found]),
        jump([result.forces.numpy() for result in found]),
    )


def assert_smooth(evaluate, around: Callable[[float], Callable[[float], ase.Atoms]]) -> None:
    """No jump of the structures ``around(0)``; those of ``around(shift)`` have no neighbour at a cutoff.

    Doubled weights may give forces of thousands of eV/Å, whose rounding alone is more than the bounds: there a crossing
    must not stand out from places where nothing crosses. Rounding scatters, so a few such places bound it within 3.
    """
    energy, force = jumps(evaluate, around(0.0))
    if energy < 1e-9 and force < 1e-6:
        return
    shifts = (-0.01, -0.006, -0.003, 0.003, 0.006, 0.01)
    energies, forces = zip(*(jumps(evaluate, around(shift)) for shift in shifts), strict=True)
    assert energy < max(1e-9, 3 * max(energies))
    assert force < max(1e-6, 3 * max(forces))


@pytest.mark.parametrize("cutoff", ["cutoff", "line_cutoff"])
@pytest.mark.parametrize("others", ["none", "far", "many"])
def test_crossing_a_cutoff(scaled, cutoff, others) -> None:
    """``none`` makes the crossing edge the last of its centre; ``far`` leaves one edge and no angle."""
    around = {
        "none": [],
        "far": [[0.0, 0.0, 5.0]],
        "many": [[1.9, 0, 0], [0, 2.1, 0], [-1.2, -1.4, 0.9]],
    }[others]
    symbols = ["Si", *["O", "Cl", "Na"][: len(around)], "Na"]
    atoms = ase.Atoms(symbols, [[0, 0, 0], *around, [0, 0, 0]])
    radius = getattr(scaled.model.config, cutoff)
    direction = np.array([0.48, -0.64, 0.6])

    def around_radius(shift: float) -> Callable[[float], ase.Atoms]:
        def place(offset: float) -> ase.Atoms:
            moved = atoms.copy()
            moved.positions[-1] = moved.positions[0] + (radius + shift + offset) * direction
            return moved

        return place

    assert_smooth(scaled, around_radius)


def curvatures(
    evaluate, place: Callable[[float], ase.Atoms], step: float = 1e-3
) -> tuple[float, float]:
    """Second derivatives of the energy, eV/Å², on either side of offset zero, by differences of second order."""
    offsets = np.arange(-3, 4)
    energies = evaluate(*(place(step * offset) for offset in offsets)).energy.numpy()
    weights = np.array([2.0, -5.0, 4.0, -1.0]) / step**2
    return float(energies[3::-1] @ weights), float(energies[3:] @ weights)


def crossing_pair(evaluate, cutoff: str, others: int) -> Callable[[float], ase.Atoms]:
    """An atom that crosses the cutoff of another, which has so many neighbours besides."""
    radius = getattr(evaluate.model.config, cutoff)
    around = [[1.9, 0, 0], [0, 2.1, 0], [-1.2, -1.4, 0.9]][:others]
    symbols = ["Si", *["O", "Cl", "Na"][:others], "Na"]

    def place(offset: float) -> ase.Atoms:
        last = (radius + offset) * np.array([0.48, -0.64, 0.6])
        return ase.Atoms(symbols, [[0, 0, 0], *around, last])

    return place


@pytest.mark.parametrize("cutoff", ["cutoff", "line_cutoff"])
@pytest.mark.parametrize("others", [0, 3])
def test_the_slope_of_the_force_is_the_same_on_both_sides(evaluate, cutoff, others) -> None:
    """A jump of the force shows a bend of the energy; a bend of the force shows only here."""
    left, right = curvatures(evaluate, crossing_pair(evaluate, cutoff, others))
    assert abs(left - right) < BEND


@pytest.mark.parametrize("model", ["trained-dense", "trained-moe"], indirect=True)
@pytest.mark.parametrize("cutoff", ["cutoff", "line_cutoff"])
def test_a_rougher_envelope_is_noticed(evaluate, cutoff, monkeypatch) -> None:
    """1 − 3x² + 2x³ ends with its slope only: its forces do not jump but bend."""

    def rough(lengths: torch.Tensor, cutoff: float) -> torch.Tensor:
        x = torch.clamp(lengths / cutoff, max=1.0)
        return 1.0 - x * x * (3.0 - 2.0 * x)

    monkeypatch.setattr(geometry, "envelope", rough)
    left, right = curvatures(evaluate, crossing_pair(evaluate, cutoff, 3))
    assert abs(left - right) > 5 * BEND


def test_crossing_in_a_crystal(scaled, crystal) -> None:
    """Neighbours cross the line cutoff of several atoms at once when the cell swells."""
    target = scaled.model.config.line_cutoff
    lengths = np.linalg.norm(build_graph(crystal, 5.0, 4.0).vectors, axis=1)
    nearest = lengths[np.abs(lengths - target).argmin()]

    def around(shift: float) -> Callable[[float], ase.Atoms]:
        def place(offset: float) -> ase.Atoms:
            swollen = crystal.copy()
            scale = (target + shift + offset) / nearest
            swollen.set_cell(crystal.cell.array * scale, scale_atoms=True)
            return swollen

        return place

    assert_smooth(scaled, around)


def test_energy_is_smooth_along_a_bond(evaluate) -> None:
    """No kink anywhere between 1.5 and 7 Å: the energy integrates the force."""
    lengths = np.linspace(1.5, 7.0, 1101)
    dimers = [ase.Atoms("SiO", [[0, 0, 0], [0, 0, length]]) for length in lengths]
    found = evaluate(*dimers)
    energies = found.energy.numpy()
    forces = found.forces.numpy().reshape(-1, 2, 3)[:, 1, 2]
    integral = -np.cumsum((forces[1:] + forces[:-1]) / 2 * np.diff(lengths))
    coarse = 2e-3 * max(1.0, float(np.abs(forces).max()))
    np.testing.assert_allclose(integral, energies[1:] - energies[0], atol=coarse)
    assert abs(forces[-1]) == 0.0
