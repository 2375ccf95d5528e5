"""The ASE calculator: derivatives, the neighbour skin, any pbc, untouched atoms, clear errors."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from janus_md import JanusCalculator
from janus_md.errors import UserError
from janus_md.export import export_model
from janus_md.model import MatRISMoE, preset, save_model

ELEMENTS = ["H", "C", "O", "Al", "Si"]


@pytest.fixture(scope="module")
def model() -> MatRISMoE:
    torch.manual_seed(0)
    made = MatRISMoE(
        preset(
            "tiny", elements=ELEMENTS, tasks=["pbe", "scan"], charge=True, spin=True, magmoms=True
        )
    )
    energies = {("pbe", "Si"): -5.0, ("scan", "Si"): -7.0}
    made.set_statistics(energies, energy_scale=1.0, mean_neighbours=40, mean_line_neighbours=16)
    return made


@pytest.fixture(scope="module")
def double(model: MatRISMoE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "double.janus.pt"
    export_model(model, path, precision="double")
    return path


@pytest.fixture(scope="module")
def make(double: Path) -> Callable[..., JanusCalculator]:
    def calculator(**options: object) -> JanusCalculator:
        return JanusCalculator(double, **{"task": "pbe", "device": "cpu", **options})

    return calculator


def rattled(atoms: Atoms, seed: int = 0) -> Atoms:
    atoms.rattle(0.1, seed=seed)
    return atoms


STRUCTURES = {
    "crystal": lambda: rattled(bulk("Si", cubic=True)),
    "one-atom cell": lambda: bulk("Al"),
    "slab": lambda: rattled(fcc111("Al", (2, 2, 3), vacuum=6.0)),
    "wire": lambda: rattled(Atoms("Si4", [[0, 0, 2.3 * i] for i in range(4)], cell=[0, 0, 9.2], pbc=[0, 0, 1])),
    "molecule": lambda: rattled(molecule("CH3CH2OH")),
    "isolated atom": lambda: Atoms("Si"),
    "left-handed": lambda: rattled(
        Atoms("Si2", [[0, 0, 0], [1.3, 1.4, 1.3]], cell=[[0, 4, 0], [4, 0, 0], [0, 0, 4]], pbc=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STRUCTURES)
def test_forces_are_the_derivative_of_the_energy(
    name: str, make: Callable[..., JanusCalculator]
) -> None:
    atoms = STRUCTURES[name]()
    atoms.calc = make()
    chosen = list(range(min(2, len(atoms))))
    expected = calculate_numerical_forces(atoms, eps=1e-4, iatoms=chosen)
    assert atoms.get_forces()[chosen] == pytest.approx(expected, abs=1e-6)
    assert atoms.get_potential_energy() == pytest.approx(atoms.get_potential_energies().sum())


@pytest.mark.parametrize("name", ["crystal", "one-atom cell", "left-handed"])
def test_stress_is_the_derivative_by_strain(
    name: str, make: Callable[..., JanusCalculator]
) -> None:
    atoms = STRUCTURES[name]()
    atoms.calc = make()
    expected = calculate_numerical_stress(atoms, eps=1e-5)
    assert atoms.get_stress() == pytest.approx(expected, abs=1e-7)
    assert atoms.get_stresses().sum(axis=0) == pytest.approx(atoms.get_stress(), abs=1e-12)


@pytest.mark.parametrize("name", [name for name in STRUCTURES if name != "isolated atom"])
def test_the_skin_changes_nothing(name: str, make: Callable[..., JanusCalculator]) -> None:
    """A walk of positions and cell: the kept list gives what a fresh search gives, with fewer searches."""
    atoms = STRUCTURES[name]()
    kept, fresh = make(skin=1.0), make(skin=0.0)
    generator = np.random.default_rng(1)
    for step in range(12):
        atoms.positions += generator.normal(scale=0.03, size=(len(atoms), 3)) + 0.2
        if atoms.pbc.any():
            strain = np.eye(3) + generator.normal(scale=0.006, size=(3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        if step == 8:
            atoms.wrap()
        results = []
        for calculator in (kept, fresh):
            atoms.calc = calculator
            results.append((atoms.get_potential_energy(), atoms.get_forces()))
        assert results[0][0] == pytest.approx(results[1][0], abs=1e-10)
        assert results[0][1] == pytest.approx(results[1][1], abs=1e-9)
    assert fresh.neighbours.builds == 12
    assert 1 <= kept.neighbours.builds <= 9


def test_a_large_strain_is_noticed(make: Callable[..., JanusCalculator]) -> None:
    """Compression brings in neighbours that no displacement alone would reveal."""
    atoms = bulk("Si", cubic=True)
    atoms.calc = make(skin=0.3)
    atoms.get_potential_energy()
    for scale in (0.99, 0.9, 0.7, 1.2):
        squeezed = bulk("Si", cubic=True)
        squeezed.set_cell(squeezed.cell * scale, scale_atoms=True)
        atoms.set_cell(squeezed.cell, scale_atoms=True)
        squeezed.calc = make(skin=0.0)
        assert atoms.get_potential_energy() == pytest.approx(
            squeezed.get_potential_energy(), abs=1e-9
        )


def test_one_calculator_serves_different_structures(make: Callable[..., JanusCalculator]) -> None:
    shared = make()
    for name in ("crystal", "molecule", "slab", "crystal"):
        first, second = STRUCTURES[name](), STRUCTURES[name]()
        first.calc, second.calc = shared, make()
        assert first.get_potential_energy() == pytest.approx(second.get_potential_energy())


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_atoms_are_never_changed(name: str, make: Callable[..., JanusCalculator]) -> None:
    atoms = STRUCTURES[name]()
    atoms.positions += 37.0  # far outside the cell
    before = atoms.copy()
    atoms.calc = make()
    atoms.get_forces()
    assert (atoms.positions == before.positions).all()
    assert (atoms.cell.array == before.cell.array).all()
    assert (atoms.pbc == before.pbc).all()
    assert atoms.info == before.info
    assert set(atoms.arrays) == set(before.arrays)


def test_file_and_checkpoint_agree(
    model: MatRISMoE, tmp_path: Path, make: Callable[..., JanusCalculator]
) -> None:
    save_model(model, tmp_path / "run" / "checkpoints" / "best")
    energies = []
    atoms = STRUCTURES["crystal"]()
    folders = (tmp_path / "run", tmp_path / "run" / "checkpoints" / "best")
    for folder in folders:
        atoms.calc = JanusCalculator(folder, device="cpu", dtype="float64", task="pbe")
        energies.append(atoms.get_potential_energy())
    atoms.calc = make()
    assert energies == pytest.approx([atoms.get_potential_energy()] * 2, rel=1e-10)


@pytest.mark.parametrize("exported", [True, False])
def test_a_pickled_calculator_reads_its_file_again(
    exported: bool, model: MatRISMoE, double: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes and pools of them hand calculators over this way; a relative path keeps its meaning elsewhere."""
    save_model(model, tmp_path / "checkpoint")
    monkeypatch.chdir(double.parent if exported else tmp_path)
    path, dtype = (double.name, None) if exported else ("checkpoint", torch.float64)
    atoms = STRUCTURES["crystal"]()
    atoms.calc = JanusCalculator(path, device="cpu", dtype=dtype, task="scan", skin=0.3)
    energy = atoms.get_potential_energy()
    handed_over = pickle.dumps(atoms.calc)
    monkeypatch.chdir(tmp_path.parent)
    again = pickle.loads(handed_over)
    assert again.results["energy"] == energy
    assert (again.neighbours.skin, again.task) == (0.3, atoms.calc.task)
    again.reset()
    atoms.calc = again
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    assert len(handed_over) < 50_000


def test_task_charge_and_spin_matter(make: Callable[..., JanusCalculator]) -> None:
    atoms = STRUCTURES["crystal"]()
    atoms.calc = make()
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    charged = atoms.get_potential_energy()
    atoms.info["spin"] = 3
    triplet = atoms.get_potential_energy()
    assert len({neutral, charged, triplet}) == 3
    atoms.info.clear()
    assert atoms.get_potential_energy() == neutral
    atoms.calc = make(task="scan")
    assert atoms.get_potential_energy() == pytest.approx(neutral - 2.0 * len(atoms), abs=8.0)


def test_a_charge_in_an_array_is_that_number(make: Callable[..., JanusCalculator]) -> None:
    """Databases and extxyz hand some numbers over as arrays; the readers of data took them, the calculator did not."""
    energies = []
    for charge in (1, np.array([1.0])):
        atoms = STRUCTURES["crystal"]()
        atoms.info["charge"] = charge
        atoms.calc = make()
        energies.append(atoms.get_potential_energy())
    assert energies[0] == energies[1]


def test_charge_and_spin_that_a_model_does_not_use(tmp_path: Path) -> None:
    save_model(MatRISMoE(preset("tiny", elements=["Si"])), tmp_path)
    atoms = STRUCTURES["crystal"]()
    atoms.calc = JanusCalculator(tmp_path, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for spin in (0, 1):
            atoms.info.update(charge=0, spin=spin)
            neutral = atoms.get_potential_energy()
    for name in ("charge", "spin"):
        atoms.info = {name: 2}
        with pytest.warns(UserWarning, match=f"does not use a {name}"):
            assert atoms.get_potential_energy() == neutral


def test_results_that_are_not_finite_name_the_closest_atom(
    make: Callable[..., JanusCalculator],
) -> None:
    """Such energies went on into trajectories and averages."""
    atoms = Atoms("Si3O", [[0, 0, 0], [0, 0, 2.3], [0, 0, 4.0], [9, 9, 9]])
    atoms.info["charge"] = 1e300
    atoms.calc = make()
    with pytest.raises(UserError, match=r"not finite: atom 1 \(Si\) has .* neighbour 1.7 Å away"):
        atoms.get_potential_energy()
    assert not atoms.calc.results
    alone = Atoms("Si", info={"charge": 1e300}, calculator=make())
    with pytest.raises(UserError, match=r"atom 0 \(Si\) has no neighbour"):
        alone.get_potential_energy()


def test_too_large_a_structure_is_one_sentence(
    make: Callable[..., JanusCalculator], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 200.00 GiB")

    monkeypatch.setattr("janus_md.calculators.ase.predict", refuse)
    atoms = STRUCTURES["crystal"]()
    atoms.calc = make()
    with pytest.raises(UserError, match=r"8 atoms, needs more memory than cpu has: give device"):
        atoms.get_potential_energy()


def test_magnetic_moments(make: Callable[..., JanusCalculator]) -> None:
    atoms = STRUCTURES["crystal"]()
    atoms.calc = make()
    moments = atoms.get_magnetic_moments()
    assert moments.shape == (8,)
    assert (moments >= 0).all()


def test_moments_without_sign_have_no_total(make: Callable[..., JanusCalculator]) -> None:
    """Their sum would call an antiferromagnet a ferromagnet."""
    atoms = STRUCTURES["crystal"]()
    atoms.calc = make()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_magnetic_moment()


def test_pymatgen_structures_and_molecules(make: Callable[..., JanusCalculator]) -> None:
    core = pytest.importorskip("pymatgen.core")
    crystal = core.Structure(core.Lattice.cubic(4.1), ["Al"], [[0, 0, 0]])
    atoms = make().from_structure(crystal)
    assert atoms.pbc.all()
    assert np.isfinite(atoms.get_stress()).all()
    water = core.Molecule(["O", "H", "H"], [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]])
    assert not make().from_structure(water).pbc.any()


def test_mistakes_are_named(double: Path, make: Callable[..., JanusCalculator]) -> None:
    def raised(atoms: Atoms, action: str = "get_potential_energy") -> str:
        atoms.calc = make()
        with pytest.raises(UserError) as caught:
            getattr(atoms, action)()
        return str(caught.value)

    assert "knows no Au" in raised(bulk("Au"))
    assert "double.janus.pt" in raised(bulk("Au"))
    nowhere = bulk("Si", cubic=True)
    nowhere.positions[3, 1] = np.nan
    assert "atom 3 (Si)" in raised(nowhere)
    assert "on top of each other" in raised(Atoms("Si2", [[0, 0, 0], [0, 0, 0]]))
    assert "no atoms" in raised(Atoms())
    assert "three periodic directions" in raised(molecule("H2O"), "get_stress")
    odd = bulk("Si")
    for wrong in ("plus", np.nan, np.inf, [1, 2], None):
        odd.info["charge"] = wrong
        assert "info['charge'] of Si2 is" in raised(odd)
    with pytest.raises(UserError, match="did you mean 'pbe'"):
        make(task="pbee")
    with pytest.raises(
        UserError, match=r"holds the tasks pbe, scan: choose one with task .*--task"
    ):
        make(task=None)
    for wrong in ("float31", torch.float16, 3):
        with pytest.raises(UserError, match="is unknown"):
            make(dtype=wrong)
    with pytest.raises(UserError, match=r"no task '0' \(known: pbe, scan\)"):
        make(task=0)
    with pytest.raises(UserError, match="negative"):
        make(skin=-1.0)
    with pytest.raises(UserError, match="not finite"):
        make(skin=np.nan)
    with pytest.raises(UserError, match="does not exist"):
        JanusCalculator(double.with_name("missing.janus.pt"))


def test_an_exported_file_runs_in_either_precision(model: MatRISMoE, tmp_path: Path) -> None:
    """As in LAMMPS: it was refused in Python alone."""
    atoms, found = STRUCTURES["crystal"](), {}
    for precision in ("single", "double"):
        export_model(model, tmp_path / f"{precision}.janus.pt", precision=precision)
        for dtype in ("float32", "float64"):
            atoms.calc = JanusCalculator(
                tmp_path / f"{precision}.janus.pt", device="cpu", dtype=dtype, task="pbe"
            )
            found[precision, dtype] = atoms.get_potential_energy(), atoms.get_forces()
    single, double = found["single", "float32"], found["double", "float64"]
    for key, like in {("double", "float32"): single, ("single", "float64"): double}.items():
        assert found[key][0] == pytest.approx(like[0], abs=1e-5)
        np.testing.assert_allclose(found[key][1], like[1], atol=1e-5)
    # Not the sums of single precision, on weights that were rounded once.
    atoms.calc = JanusCalculator(
        tmp_path / "single.janus.pt", device="cpu", dtype="float64", task="pbe"
    )
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0])
    np.testing.assert_allclose(atoms.get_forces()[:1], numerical, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", torch.float64, np.float64, np.dtype("float64")])
def test_dtypes_of_torch_and_numpy(dtype: object, make: Callable[..., JanusCalculator]) -> None:
    assert next(make(dtype=dtype).source.model.parameters()).dtype == torch.float64


def test_an_error_leaves_the_calculator_usable(make: Callable[..., JanusCalculator]) -> None:
    atoms = STRUCTURES["crystal"]()
    atoms.calc = make()
    energy = atoms.get_potential_energy()
    kept = atoms.positions[0].copy()
    atoms.positions[0] = np.nan
    with pytest.raises(UserError):
        atoms.get_potential_energy()
    atoms.positions[0] = kept
    assert atoms.get_potential_energy() == pytest.approx(energy)
