"""`JanusCalculator`: a trained potential behind ASE's calculator interface."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from janus_md.calculators.neighbours import SkinNeighbours
from janus_md.calculators.not_finite import refuse_not_finite
from janus_md.calculators.source import Precision, open_source
from janus_md.errors import UserError, nearest
from janus_md.graph import batch_graphs
from janus_md.graph.tables import suited_to
from janus_md.io.electrons import electrons
from janus_md.io.pymatgen import atoms_from_pymatgen
from janus_md.model import Prediction, predict
from janus_md.out_of_memory import within_memory

if TYPE_CHECKING:
    from pymatgen.core import Molecule, Structure


ELSEWHERE = "give device cpu, or run it in LAMMPS, in chunks or on several GPUs (docs/lammps.md)"
"""What to do with a structure that does not fit."""


class JanusCalculator(Calculator):
    """Energies (eV), forces (eV/Å), stress (eV/Å³, ASE's sign) and magnetic moments (μ_B).

    The total charge (e) and the spin multiplicity are read from ``atoms.info["charge"]`` and
    ``atoms.info["spin"]``, zero where absent; where the model does not use them, it
    warns. Any combination of periodic directions; stress and stresses need all three. The atoms given are
    never changed.

    Args:
        path: exported file ``*.janus.pt``, checkpoint, or folder of a training run.
        device: "auto", "cpu", "cuda" or "cuda:1".
        dtype: "float32" or "float64", or torch's or numpy's; None is that of the file. The geometry is float64 in both.
        task: data set or functional whose energies are meant; a model of one task needs none.
        skin: Å beyond the cutoff that neighbours are kept for, so that the list serves many steps.

    Raises:
        UserError: wrong path, device, dtype or task; when evaluated, an element the model lacks,
            positions, charge or spin that are not finite, atoms on top of each other, or results that
            are not finite.
    """

    implemented_properties = [  # noqa: RUF012 - ASE declares it without ClassVar
        "energy", "free_energy", "energies", "forces", "stress", "stresses", "magmoms",
    ]  # fmt: skip
    # Results depend on nothing else of the atoms, except charge and spin in `info`.
    ignored_changes = {"initial_charges", "initial_magmoms"}  # noqa: RUF012

    def __init__(
        self,
        path: str | Path,
        device: str = "auto",
        dtype: Precision | None = None,
        task: str | None = None,
        skin: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= skin < np.inf:
            raise UserError(
                f"skin {skin} is negative or not finite: give a length in Å, or 0 for none"
            )
        self._opening = Path(path).absolute(), device, dtype
        self._skin = skin
        self._open(Path(path), device, dtype)
        self.task = self._task_index(task)
        if not self.source.magmoms:
            self.implemented_properties = [
                name for name in self.implemented_properties if name != "magmoms"
            ]
        self._electrons = (0.0, 0.0)

    def _open(self, path: Path, device: str, dtype: Precision | None) -> None:
        self.source = open_source(path, device, dtype)
        self.device = next(self.source.model.parameters()).device
        self.neighbours = SkinNeighbours(self.source.cutoff, self.source.line_cutoff, self._skin)

    def __getstate__(self) -> dict[str, Any]:
        """Results and settings; the model is read from its file again, since TorchScript does not pickle."""
        opened = ("source", "device", "neighbours")
        return {name: value for name, value in self.__dict__.items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open(*self._opening)

    def from_structure(self, structure: Structure | Molecule) -> Atoms:
        """A pymatgen ``Structure`` or ``Molecule`` as ASE atoms that carry this calculator."""
        atoms = atoms_from_pymatgen(structure)
        atoms.calc = self
        return atoms

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last evaluation; charge and spin in ``info`` count."""
        changes = list(super().check_state(atoms, tol=tol))
        if not changes and electrons(atoms) != self._electrons:
            changes.append("initial_charges")
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Evaluate everything the model gives in one pass."""
        super().calculate(atoms, list(properties), list(system_changes))
        copied = self.atoms  # ASE has put a copy there
        assert copied is not None
        self.results = {}
        self._check(copied, properties)
        self._electrons = charge, spin = electrons(copied)
        self._warn_of_unused(charge, spin)
        graph = self.neighbours.graph(copied)
        layout = suited_to(self.device, self.source.model.floats_per_edge)
        batch = batch_graphs([graph], task=[self.task], charge=[charge], spin=[spin], layout=layout)
        what = f"{copied.get_chemical_formula()}, {len(copied)} atoms,"
        with within_memory(self.device, what, ELSEWHERE):
            prediction = predict(
                self.source.model, batch.to(self.device), forces=True, stress=graph.volume > 0
            )
        refuse_not_finite(prediction, graph, self.source.path)
        self.results = _results(prediction, graph.volume)

    def _check(self, atoms: Atoms, properties: Sequence[str]) -> None:
        if len(atoms) == 0:
            raise UserError("the structure has no atoms: there is nothing to evaluate")
        bad = ~np.isfinite(atoms.positions).all(axis=1)
        if bad.any():
            first = int(bad.argmax())
            raise UserError(
                f"the position of atom {first} ({atoms.symbols[first]}) is not finite:"
                " check the structure, or the step that moved it"
            )
        lacking = sorted(set(atoms.symbols) - set(self.source.elements))
        if lacking:
            raise UserError(
                f"{self.source.path} knows no {', '.join(lacking)}, only"
                f" {' '.join(self.source.elements)}: use a model trained or exported with all of them"
            )
        if {"stress", "stresses"} & set(properties) and not atoms.pbc.all():
            raise UserError(
                f"the stress of {atoms.get_chemical_formula()} needs three periodic directions:"
                " set pbc, or do not ask for it"
            )

    def _warn_of_unused(self, charge: float, spin: float) -> None:
        """No error, as the plugin has it for its options: data sets state them for any model to be compared on."""
        stated = {
            "charge": charge != 0 and not self.source.uses_charge,
            "spin": spin not in (0, 1) and not self.source.uses_spin,
        }
        for name in (name for name, unused in stated.items() if unused):
            warnings.warn(
                f"{self.source.path} does not use a {name}: atoms.info['{name}'] changes nothing;"
                " remove it, or use a model with one",
                stacklevel=2,
            )

    def _task_index(self, task: str | None) -> int:
        tasks = self.source.tasks
        if task is None and len(tasks) == 1:
            return 0
        if task is None:
            raise UserError(
                f"{self.source.path} holds the tasks {', '.join(tasks)}: choose one with task"
                " (in the shell: --task)"
            )
        if task not in tasks:
            raise UserError(
                f"{self.source.path} has no task '{task}'{nearest(str(task), tasks)}:"
                " give one that 'janus-md info' lists"
            )
        return tasks.index(task)


def _results(prediction: Prediction, volume: float) -> dict[str, Any]:
    """ASE's names and layouts: stress in Voigt order xx yy zz yz xz xy."""
    energy = float(prediction.energy[0])
    assert prediction.forces is not None  # asked for above
    results: dict[str, Any] = {
        "energy": energy,
        "free_energy": energy,
        "energies": _array(prediction.energies),
        "forces": _array(prediction.forces),
    }
    if prediction.stress is not None and prediction.virials is not None:
        results["stress"] = full_3x3_to_voigt_6_stress(_array(prediction.stress[0]))
        results["stresses"] = full_3x3_to_voigt_6_stress(-_array(prediction.virials) / volume)
    if prediction.magmoms is not None:
        results["magmoms"] = _array(prediction.magmoms).astype(np.float64)
    return results


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
