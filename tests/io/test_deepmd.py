"""Folders of DeePMD data: what they hold, what they have no place for, and what damages them."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from io_support import labelled

from janus_md.errors import UserError
from janus_md.io import Frame, LabelKeys, read_frames, write_frames


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ({"charge": 1.0}, "has charge"),
        ({"spin": 2.0, "task": "omol"}, "has spin, task"),
        ({"magmoms": np.ones(2)}, "has magmoms"),
    ],
)
def test_what_deepmd_has_no_place_for_is_refused(
    tmp_path: Path, lost: dict[str, object], words: str
) -> None:
    plain = Frame(bulk("Si"), energy=0.0, source="x.extxyz", index=3)
    full = Frame(bulk("Si"), energy=0.0, source="x.extxyz", index=4, **lost)
    with pytest.raises(UserError, match=rf"x.extxyz, frame 4 {words}.*write .extxyz"):
        write_frames(tmp_path / "s", [plain, full])
    assert not (tmp_path / "s").exists()


def test_slabs_and_wires_are_not_made_clusters(tmp_path: Path) -> None:
    """DeePMD's ``nopbc`` is for all directions at once."""
    slab = Frame(bulk("Si"), energy=0.0, source="slab.extxyz")
    for pbc, words in (((1, 1, 0), "a and b"), ((0, 0, 1), "c")):
        slab.atoms.pbc = pbc
        with pytest.raises(
            UserError, match=rf"slab.extxyz, frame 0 is periodic along {words} only"
        ):
            write_frames(tmp_path / "s", [slab])
        write_frames(tmp_path / f"{words}.extxyz", [slab])
        assert (read_frames(tmp_path / f"{words}.extxyz")[0].atoms.pbc == pbc).all()


def test_deepmd_virial_has_the_sign_of_deepmd(tmp_path: Path) -> None:
    frame = labelled(bulk("Cu"), 0)
    write_frames(tmp_path / "cu", [frame])
    virial = np.load(tmp_path / "cu" / "set.000" / "virial.npy").reshape(3, 3)
    np.testing.assert_allclose(virial, -frame.volume * frame.stress)


def test_deepmd_labels_can_only_be_left_out(tmp_path: Path, crystals: list[Frame]) -> None:
    write_frames(tmp_path / "s", crystals)
    frame = read_frames(tmp_path / "s", keys=LabelKeys(energy="ignore", virial="ignore"))[0]
    assert frame.energy is None and frame.stress is None and frame.forces is not None
    with pytest.raises(UserError, match="names of their own: energy=REF_energy means nothing"):
        read_frames(tmp_path / "s", keys=LabelKeys(energy="REF_energy"))


def test_damaged_deepmd_folders(tmp_path: Path, crystals: list[Frame]) -> None:
    write_frames(tmp_path / "s", crystals)
    map_file = tmp_path / "s" / "type_map.raw"
    labels = map_file.read_text()
    map_file.write_text(labels.replace("\n", "_1\n", 1))
    with pytest.raises(UserError, match=r"type_map.raw names type 0 '.*_1', which is no element"):
        read_frames(tmp_path / "s")
    map_file.write_text(labels)
    np.save(tmp_path / "s" / "set.000" / "energy.npy", np.zeros(2))
    with pytest.raises(UserError, match=r"energy.npy holds 2 frames where coord.npy holds 3"):
        read_frames(tmp_path / "s")
    map_file.unlink()
    with pytest.raises(UserError, match=r"type_map.raw is missing"):
        read_frames(tmp_path / "s")


def test_a_folder_of_several_kinds_is_not_read_in_part(
    tmp_path: Path, crystals: list[Frame]
) -> None:
    write_frames(tmp_path / "s", crystals)
    write_frames(tmp_path / "more.extxyz", crystals)
    with pytest.raises(UserError, match=r"holds DeePMD data .* and more.extxyz; name one"):
        read_frames(tmp_path)
    assert len(read_frames(tmp_path / "s")) == len(crystals)
