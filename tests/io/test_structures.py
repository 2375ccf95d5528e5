"""Structures and trajectories in the formats of ASE and pymatgen."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from janus_md.errors import UserError
from janus_md.io import read_frames
from janus_md.io.structures import check_writable, read_structure, write_structure
from janus_md.io.trajectories import TrajectoryWriter
from janus_md.lammps import write_data


@pytest.mark.parametrize("name", ["a.cif", "POSCAR", "a.extxyz", "a.vasp", "a.xsf", "a.json"])
def test_a_crystal_comes_back(name: str, tmp_path: Path) -> None:
    if name.endswith(".json"):
        pytest.importorskip("pymatgen.core", reason="pymatgen is not installed")
    silicon = bulk("Si", cubic=True)
    check_writable(tmp_path / name, silicon)
    write_structure(tmp_path / name, silicon)
    back = read_structure(tmp_path / name)
    assert (back.symbols == silicon.symbols).all()
    assert back.cell.lengths() == pytest.approx(silicon.cell.lengths(), abs=1e-4)
    assert back.pbc.all()


def test_a_data_file_of_lammps_is_read(tmp_path: Path) -> None:
    """As ``write_input`` writes it: elements follow from the masses."""
    salt = bulk("NaCl", "rocksalt", a=5.64)
    write_data(salt, tmp_path / "data.lmp")
    back = read_structure(tmp_path / "data.lmp")
    assert sorted(back.symbols) == ["Cl", "Na"]
    assert back.get_volume() == pytest.approx(salt.get_volume())


DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 5
0 5
0 5
ITEM: ATOMS {}
{}
{}
"""
DATA = """two atoms

2 atoms
1 atom types
0 5 xlo xhi
0 5 ylo yhi
0 5 zlo zhi
{}
Atoms # atomic

1 1 0 0 0
2 1 1 1 1
"""
LABELS = "\nAtom Type Labels\n\n1 {}\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.lammpstrj", DUMP.format("id type x y z", "1 1 0 0 0", "2 2 1 1 1")),
        ("a.lmp", DATA.format("")),
        ("a.lmp", DATA.format(LABELS.format("Hw"))),
    ],
)
def test_types_without_elements_are_no_hydrogen(name: str, content: str, tmp_path: Path) -> None:
    """ASE takes type 1 for hydrogen, type 2 for helium, whatever the simulation was of."""
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=f"{name} does not say of which elements"):
        read_structure(tmp_path / name)
    if name == "a.lammpstrj":
        with pytest.raises(UserError, match=f"{name} does not say of which elements"):
            read_frames(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.lammpstrj", DUMP.format("id type element x y z", "1 1 H 0 0 0", "2 1 H 1 1 1")),
        ("a.lmp", DATA.format("\nMasses\n\n1 1.008\n")),
        ("a.lmp", DATA.format(LABELS.format("H"))),
    ],
)
def test_hydrogen_that_is_type_1_is_read(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert str(read_structure(tmp_path / name).symbols) == "H2"


def test_a_data_file_that_is_written_says_its_elements(tmp_path: Path) -> None:
    write_structure(tmp_path / "a.lammps-data", bulk("NaCl", "rocksalt", a=5.64))
    assert sorted(read_structure(tmp_path / "a.lammps-data").symbols) == ["Cl", "Na"]


def test_a_file_without_atoms_is_named(tmp_path: Path) -> None:
    (tmp_path / "none.xyz").write_text("0\n\n")
    with pytest.raises(UserError, match=r"none\.xyz holds a structure without atoms: give one"):
        read_structure(tmp_path / "none.xyz")


def test_a_molecule_comes_back_from_pymatgen_json(tmp_path: Path) -> None:
    pytest.importorskip("pymatgen.core", reason="pymatgen is not installed")
    water = molecule("H2O")
    write_structure(tmp_path / "a.json", water)
    back = read_structure(tmp_path / "a.json")
    assert not back.pbc.any()
    assert back.positions == pytest.approx(water.positions)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.cif").write_text("nothing of the kind")
    (tmp_path / "bad.json").write_text("{")
    for name in ("bad.cif", "bad.json", "missing.cif"):
        with pytest.raises(UserError, match=name):
            read_structure(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nonsense", "a"])
def test_unknown_formats_are_refused_before_the_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no format is known"):
        check_writable(tmp_path / name, bulk("Si"))


@pytest.fixture
def slab() -> Atoms:
    """Without a third vector."""
    atoms = fcc111("Cu", (1, 1, 2), vacuum=5.0, periodic=False)
    atoms.cell[2] = 0.0
    return atoms


@pytest.mark.parametrize("name", ["POSCAR", "a.cif", "a.arc", "a.pwi", "a.xtl"])
def test_a_structure_its_format_cannot_hold_is_refused_before_the_work(
    name: str, slab: Atoms, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"Cu2 cannot be written to {name} \(.*choose another"):
        check_writable(tmp_path / name, slab)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["t.arc", "t.cif", "t.mp4"])
def test_a_trajectory_its_format_cannot_hold_is_refused_with_the_first_frame(
    name: str, slab: Atoms, tmp_path: Path
) -> None:
    writer = TrajectoryWriter(tmp_path / name)
    with pytest.raises(UserError, match=rf"Cu2 cannot be written to {name}"):
        writer.write(slab)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["t.traj", "t.extxyz", "XDATCAR"])
def test_trajectories_grow(name: str, tmp_path: Path) -> None:
    atoms = bulk("Si")
    with TrajectoryWriter(tmp_path / name) as writer:
        for step in range(3):
            atoms.positions[1, 0] += 0.1
            atoms.calc = SinglePointCalculator(atoms, energy=float(step))
            writer.write(atoms)
    frames = read(tmp_path / name, ":")
    assert len(frames) == 3
    if name != "XDATCAR":
        assert [frame.get_potential_energy() for frame in frames] == [0.0, 1.0, 2.0]


def test_one_structure_formats_hold_no_trajectory(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="several frames"):
        TrajectoryWriter(tmp_path / "POSCAR")


def test_a_disordered_structure_is_refused(tmp_path: Path) -> None:
    core = pytest.importorskip("pymatgen.core", reason="pymatgen is not installed")
    from janus_md.io import atoms_from_pymatgen

    mixed = core.Structure(core.Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])
    with pytest.raises(UserError, match="partly occupied"):
        atoms_from_pymatgen(mixed)
    assert isinstance(atoms_from_pymatgen(core.Molecule(["H"], [[0, 0, 0]])), Atoms)


CIF = """data_alloy
_cell_length_a 3.6
_cell_length_b 3.6
_cell_length_c 3.6
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        ("Fe1 Fe 0 0 0 0.5\nNi1 Ni 0 0 0 0.5\n", "Fe 0.5 Ni 0.5"),
        ("Fe1 Fe 0 0 0 0.9\n", "Fe 0.9"),
    ],
)
def test_a_cif_with_disorder_is_refused(sites: str, words: str, tmp_path: Path) -> None:
    """To relax and to train on."""
    file = tmp_path / "alloy.cif"
    file.write_text(CIF + sites)
    for reader in (read_structure, read_frames):
        with pytest.raises(UserError, match=rf"alloy.cif has a partly occupied site \({words}\)"):
            reader(file)
    file.write_text(CIF + "Fe1 Fe 0 0 0 1.0\n")
    assert read_structure(file).symbols[0] == read_frames(file)[0].atoms.symbols[0] == "Fe"


@pytest.mark.parametrize("name", ["b.extxyz", "b.traj"])
def test_an_energy_in_info_does_not_keep_results_from_being_written(
    tmp_path: Path, name: str
) -> None:
    """A relaxation's result was lost for it."""
    atoms = bulk("Si")
    atoms.info["energy"] = -7.0
    check_writable(tmp_path / name, atoms)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    write_structure(tmp_path / name, atoms)
    with TrajectoryWriter(tmp_path / f"frames-{name}") as writer:
        writer.write(atoms)
    for file in (name, f"frames-{name}"):
        assert read(tmp_path / file).get_potential_energy() == -1.0
    assert atoms.info["energy"] == -7.0
