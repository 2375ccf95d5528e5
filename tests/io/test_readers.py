"""Every reader on small files written here, and on the shared data where they are present."""

from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from io_support import labelled

from janus_md.errors import UserError
from janus_md.io import (
    Frame,
    LabelKeys,
    check,
    frame_from_atoms,
    read_frames,
    read_isolated_atoms,
    write_frames,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="../shared/data is not beside the checkout"
)


def assert_same(left: list[Frame], right: list[Frame]) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert (a.atoms.numbers == b.atoms.numbers).all()
        np.testing.assert_allclose(a.atoms.positions, b.atoms.positions, atol=1e-7)
        np.testing.assert_allclose(a.atoms.cell.array, b.atoms.cell.array, atol=1e-7)
        assert a.energy == pytest.approx(b.energy, abs=1e-7)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-7)
        assert (a.stress is None) == (b.stress is None)
        if a.stress is not None:
            np.testing.assert_allclose(a.stress, b.stress, atol=1e-7)


@pytest.mark.parametrize("name", ["set.extxyz", "set.db", "set.aselmdb", "system"])
def test_what_is_written_is_read_back(tmp_path: Path, crystals: list[Frame], name: str) -> None:
    write_frames(tmp_path / name, crystals)
    assert_same(read_frames(tmp_path / name), crystals)


def test_folder_of_databases(tmp_path: Path, crystals: list[Frame]) -> None:
    for number, frame in enumerate(crystals):
        write_frames(tmp_path / "all" / f"data.{number:04d}.aselmdb", [frame])
    assert_same(read_frames(tmp_path / "all"), crystals)


def test_molecules_through_deepmd(tmp_path: Path) -> None:
    frames = [
        labelled(molecule("CH3CH2OH"), 1),
        labelled(molecule("H2O"), 2),
        labelled(bulk("Cu"), 3),
    ]
    write_frames(tmp_path / "mixed", frames)
    assert_same(read_frames(tmp_path / "mixed"), frames)


def test_missing_labels_stay_missing(tmp_path: Path) -> None:
    first, second = bulk("Si"), bulk("Si")
    first.calc = SinglePointCalculator(first, energy=-1.0)
    second.calc = SinglePointCalculator(second, forces=np.zeros((2, 3)))
    ase.io.write(tmp_path / "some.extxyz", [first, second, bulk("Si")])
    frames = read_frames(tmp_path / "some.extxyz", task="pbe")
    assert [frame.energy for frame in frames] == [-1.0, None, None]
    assert [frame.forces is None for frame in frames] == [True, False, True]
    assert all(frame.stress is None and frame.task == "pbe" for frame in frames)


def test_labels_under_other_names(tmp_path: Path) -> None:
    atoms = bulk("Si")
    atoms.info["REF_energy"] = -3.0
    atoms.arrays["REF_forces"] = np.ones((2, 3))
    ase.io.write(tmp_path / "a.extxyz", atoms)
    frame = read_frames(tmp_path / "a.extxyz", keys=LabelKeys("REF_energy", "REF_forces"))[0]
    assert frame.energy == -3.0 and (frame.forces == 1.0).all()
    with pytest.raises(UserError, match=r"did you mean 'REF_energy'"):
        read_frames(tmp_path / "a.extxyz", keys=LabelKeys("REF_enrgy"))


def test_a_virial_is_read_as_the_stress(tmp_path: Path) -> None:
    atoms = bulk("Si")
    atoms.info["dft_virial"] = np.diag([-12.5, 0.0, 1.0])
    ase.io.write(tmp_path / "a.extxyz", atoms)
    frame = read_frames(tmp_path / "a.extxyz", keys=LabelKeys(virial="dft_virial"))[0]
    assert frame.stress == pytest.approx(np.diag([12.5, 0.0, -1.0]) / atoms.get_volume())


def test_a_virial_is_no_stress() -> None:
    with pytest.raises(UserError, match=r"stress=dft_virial would read .* write virial=dft_virial"):
        LabelKeys(stress="dft_virial")
    with pytest.raises(UserError, match="both give the stress; keep one"):
        LabelKeys(stress="s", virial="v")


@pytest.mark.parametrize(
    ("output", "name"),
    [("a.db", "REF_forces"), ("a.aselmdb", "REF_forces"), ("a", "REF_forces"), ("a", "REF_energy")],
)
def test_labels_that_were_not_read_are_not_lost(tmp_path: Path, output: str, name: str) -> None:
    atoms = bulk("Si")
    if name == "REF_forces":
        atoms.arrays[name] = np.ones((2, 3))
    else:
        atoms.info[name] = -3.0
    ase.io.write(tmp_path / "a.extxyz", atoms)
    with pytest.raises(UserError, match=rf"has {name}, which .*{output} would lose: give --key"):
        write_frames(tmp_path / output, read_frames(tmp_path / "a.extxyz"))
    label = name.removeprefix("REF_")
    frames = read_frames(tmp_path / "a.extxyz", keys=LabelKeys(**{label: name}))
    write_frames(tmp_path / output, frames)
    assert getattr(read_frames(tmp_path / output)[0], label) == pytest.approx(
        getattr(frames[0], label)
    )


@pytest.mark.parametrize("name", ["a.db", "a.aselmdb"])
def test_a_database_keeps_what_is_said_of_a_frame(tmp_path: Path, name: str) -> None:
    frame = labelled(bulk("Si"), 0)
    frame.atoms.info |= {"config_type": "slab", "REF_energy": -3.0, "kpoints": np.arange(3)}
    write_frames(tmp_path / name, [frame])
    info = read_frames(tmp_path / name)[0].atoms.info
    assert info["config_type"] == "slab" and info["REF_energy"] == -3.0
    assert (info["kpoints"] == np.arange(3)).all()


def test_a_json_database_keeps_charge_spin_and_task(tmp_path: Path) -> None:
    with ase.db.connect(tmp_path / "a.json") as database:
        database.write(molecule("CH3"), data={"charge": 1, "spin": 3, "task": "omol"})
    frame = read_frames(tmp_path / "a.json")[0]
    assert (frame.charge, frame.spin, frame.task) == (1.0, 3.0, "omol")


@pytest.mark.parametrize("name", ["a.extxyz", "a.db", "a.aselmdb"])
def test_charge_spin_and_task_survive(tmp_path: Path, name: str) -> None:
    charged, bare = labelled(molecule("CH3"), 0), labelled(molecule("CH3"), 1)
    charged.charge, charged.spin, charged.task = -1.0, 3.0, "omol"
    write_frames(tmp_path / name, [charged, bare])
    again = read_frames(tmp_path / name)
    assert [frame.charge for frame in again] == [-1.0, 0.0]
    assert [frame.spin for frame in again] == [3.0, 0.0]
    assert [frame.task for frame in again] == ["omol", ""]
    assert read_frames(tmp_path / name, task="other")[0].task == "other"


def test_isolated_atoms(tmp_path: Path) -> None:
    atoms = [Frame(Atoms("H"), energy=-13.6), Frame(Atoms("O"), energy=-2000.0)]
    write_frames(tmp_path / "e0.extxyz", atoms)
    assert read_isolated_atoms(tmp_path / "e0.extxyz") == {"H": -13.6, "O": -2000.0}
    write_frames(tmp_path / "pair.extxyz", [Frame(Atoms("H2", [[0, 0, 0], [0, 0, 1]]), energy=1.0)])
    with pytest.raises(UserError, match="holds 2 atoms"):
        read_isolated_atoms(tmp_path / "pair.extxyz")


def test_isolated_atoms_need_no_label_but_their_energy(tmp_path: Path) -> None:
    atom = Atoms("H")
    atom.info["REF_energy"] = -13.6
    ase.io.write(tmp_path / "e0.extxyz", atom)
    keys = LabelKeys(energy="REF_energy", forces="REF_forces", stress="REF_stress")
    assert read_isolated_atoms(tmp_path / "e0.extxyz", keys) == {"H": -13.6}


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_labels_name_file_and_frame(tmp_path: Path, label: str, value: float) -> None:
    good, bad = bulk("Si"), bulk("Si")
    shape = {"energy": (), "forces": (2, 3), "stress": (6,)}[label]
    for atoms, fill in ((good, 0.0), (bad, value)):
        atoms.calc = SinglePointCalculator(
            atoms, **{label: np.full(shape, fill) if shape else fill}
        )
    ase.io.write(tmp_path / "bad.extxyz", [good, bad])
    with pytest.raises(UserError, match=rf"bad.extxyz, frame 1.*'{label}' is NaN or infinite"):
        read_frames(tmp_path / "bad.extxyz")


def test_stress_needs_a_volume() -> None:
    frame = Frame(molecule("H2O"), stress=np.eye(3), source="x.extxyz", index=4)
    with pytest.raises(
        UserError, match=r"x.extxyz, frame 4 has a stress label but no positive volume"
    ):
        check(frame)


def test_left_handed_cells_have_a_volume() -> None:
    atoms = bulk("Si")
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    assert atoms.cell.handedness == -1
    assert check(Frame(atoms, stress=np.eye(3))).volume > 0


def test_missing_damaged_and_unknown_files(tmp_path: Path, crystals: list[Frame]) -> None:
    with pytest.raises(UserError, match=r"nothing.extxyz does not exist"):
        read_frames(tmp_path / "nothing.extxyz")
    write_frames(tmp_path / "good.extxyz", crystals)
    text = (tmp_path / "good.extxyz").read_text()
    (tmp_path / "cut.extxyz").write_text(text[: int(len(text) * 0.9)])
    with pytest.raises(UserError, match=r"cut.extxyz, frame 2 could not be read"):
        read_frames(tmp_path / "cut.extxyz")
    for name in ("junk.db", "junk.aselmdb", "junk.foo"):
        (tmp_path / name).write_bytes(b"\x00\x01junk" * 50)
        with pytest.raises(UserError, match=name):
            read_frames(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="neither DeePMD data"):
        read_frames(tmp_path / "empty")


def test_an_atom_of_no_element_is_named(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.extxyz", Atoms("SiX", [[0, 0, 0], [0, 0, 3.0]]))
    with pytest.raises(
        UserError, match=r"a.extxyz, frame 0 has an atom of no element \(X\), number 1"
    ):
        read_frames(tmp_path / "a.extxyz")


def test_an_energy_beside_the_label_is_written_once(tmp_path: Path) -> None:
    """Databases keep one in ``data``, readers of ``.res`` files in ``info``: two of a name ended extxyz."""
    atoms = bulk("Si")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((2, 3)))
    with ase.db.connect(tmp_path / "a.db") as database:
        database.write(atoms, data={"energy": -5.0, "forces": np.ones((2, 3)), "origin": [1, 2]})
    for name in ("b.extxyz", "b.db"):
        write_frames(tmp_path / name, read_frames(tmp_path / "a.db"))
        (frame,) = read_frames(tmp_path / name)
        assert frame.energy == -1.0 and not frame.forces.any()
        assert list(frame.atoms.info["origin"]) == [1, 2]
        assert "energy" not in frame.atoms.info


@pytest.mark.parametrize("name", ["b.extxyz", "b.db"])
def test_other_results_of_a_reader_are_kept(tmp_path: Path, name: str) -> None:
    """A conversion had lost the energy that ``energy: free_energy`` is told to read."""
    atoms = molecule("H2O")
    others = {"free_energy": -1.5, "dipole": [0.0, 0.0, 0.4], "charges": [-0.8, 0.4, 0.4]}
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, **others)
    ase.io.write(tmp_path / "a.traj", atoms)
    write_frames(tmp_path / name, [frame_from_atoms(ase.io.read(tmp_path / "a.traj"))])
    (frame,) = read_frames(tmp_path / name, keys=LabelKeys(energy="free_energy"))
    assert frame.energy == -1.5
    np.testing.assert_allclose(frame.atoms.info["dipole"], others["dipole"])
    if name.endswith("extxyz"):
        np.testing.assert_allclose(frame.atoms.arrays["charges"], others["charges"])


@pytest.mark.parametrize("name", ["b.extxyz", "b.db", "b"])
def test_a_folder_that_cannot_be_written_into_is_named(
    tmp_path: Path, crystals: list[Frame], name: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"the folder .*file cannot be written into .*choose"):
        write_frames(tmp_path / "file" / name, crystals)


def test_nothing_is_overwritten(tmp_path: Path, crystals: list[Frame]) -> None:
    write_frames(tmp_path / "a.extxyz", crystals)
    with pytest.raises(UserError, match="exists already"):
        write_frames(tmp_path / "a.extxyz", crystals)


@pytest.mark.parametrize("value", ["minus", float("nan"), [1.0, 2.0]])
@pytest.mark.parametrize("name", ["charge", "spin"])
def test_charge_and_spin_must_be_finite_numbers(name: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"info\['{name}'\] of a.xyz, frame 3 is"):
        frame_from_atoms(Atoms("H", info={name: value}), source="a.xyz", index=3)


@needs_shared
def test_shared_data_are_read_whole() -> None:
    water = read_frames(SHARED / "deepmd-water" / "data_1")
    assert len(water) > 80 and len(water[0].atoms) == 192 and water[0].stress is None
    silicon = read_frames(SHARED / "mlearn" / "Si-train.extxyz")
    assert len(silicon) == 214 and silicon[0].energy == pytest.approx(-295.49753016)
    assert set(read_isolated_atoms(SHARED / "molecules" / "3bpa-isolated-atoms.extxyz")) == set(
        "HCNO"
    )
