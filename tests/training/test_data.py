"""Splits, dropped frames, reference energies, the scale of what is learnt, kept graphs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from training_support import metals

from janus_md.errors import UserError
from janus_md.graph import build_graph
from janus_md.io import Frame, write_frames
from janus_md.io.split import split_shares
from janus_md.model import preset
from janus_training.config import Config, DataConfig, SetConfig
from janus_training.data import Frames, load_frames
from janus_training.graph_store import GraphStore
from janus_training.prepare import energy_scale, filled_in, prepare
from janus_training.references import fit_references, reference_energies


@given(count=st.integers(2, 60), share=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_a_split_is_a_partition(count: int, share: float, seed: int) -> None:
    parts = split_shares(count, [share, 1.0 - share], seed)
    assert sorted(parts[0] + parts[1]) == list(range(count))
    assert parts[0] and parts[1]
    assert abs(len(parts[0]) - share * count) <= 1.0
    assert parts == split_shares(count, [share, 1.0 - share], seed)


def test_shares_must_add_up() -> None:
    with pytest.raises(UserError, match="add up to 1"):
        split_shares(10, [0.5, 0.4], 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_frames(tmp_path / "a.extxyz", metals(20))
    write_frames(tmp_path / "b.extxyz", metals(6, seed=1))
    return tmp_path


def test_sets_are_split_by_seed_or_by_file(root: Path) -> None:
    sets = [
        SetConfig(path="a.extxyz", task="one"),
        SetConfig(path="a.extxyz", task="two", valid="b.extxyz"),
        SetConfig(path="b.extxyz", task="one", valid_fraction=0.0),
    ]
    frames = load_frames(DataConfig(root=str(root), sets=sets, valid_fraction=0.25))
    assert (len(frames.train), len(frames.valid)) == (15 + 20 + 6, 5 + 6)
    assert frames.tasks == ["one", "two"] and frames.elements == ["Cu", "Au"]
    other = load_frames(DataConfig(root=str(root), sets=sets[:1], valid_fraction=0.25, seed=1))
    again = load_frames(DataConfig(root=str(root), sets=sets[:1], valid_fraction=0.25))
    picked = [sorted(f.index for f in chosen.valid) for chosen in (other, again)]
    assert picked[0] != picked[1]
    assert picked[1] == sorted(f.index for f in frames.valid[:5])


def test_one_file_under_two_tasks_is_split_once(root: Path) -> None:
    """Else one task would train on the structures that the other validates on."""
    largest = sorted(frame.max_force for frame in metals(20))
    sets = [
        SetConfig(path="a.extxyz", task="one"),
        SetConfig(path="b.extxyz", task="other"),
        SetConfig(path="../" + root.name + "/a.extxyz", task="two", max_force=largest[-3]),
    ]
    config = DataConfig(root=str(root), sets=sets, valid_fraction=0.25)
    frames = load_frames(config)
    chosen = {
        (task, part): {f.index for f in getattr(frames, part) if f.task == task}
        for task in ("one", "two")
        for part in ("train", "valid")
    }
    assert len(chosen["one", "valid"]) == 5
    assert chosen["two", "valid"] <= chosen["one", "valid"]
    assert chosen["two", "train"] <= chosen["one", "train"]
    assert len(chosen["two", "valid"] | chosen["two", "train"]) == 18
    differing = [sets[0], sets[2].model_copy(update={"valid_fraction": 0.5})]
    with pytest.raises(UserError, match=r"data.sets.1 holds out 0.5 .* data.sets.0 0.25"):
        load_frames(config.model_copy(update={"sets": differing}))


def test_the_split_of_a_file_depends_on_its_place_among_the_sets(root: Path) -> None:
    """As published runs were split."""
    sets = [SetConfig(path="b.extxyz", task="t"), SetConfig(path="a.extxyz", task="t")]
    frames = load_frames(DataConfig(root=str(root), sets=sets, valid_fraction=0.25, seed=3))
    found = [f.index for f in frames.valid if f.source.endswith("a.extxyz")]
    assert found == split_shares(20, [0.75, 0.25], [3, 1])[1]


def test_frames_keep_the_tasks_they_state_unless_the_recipe_names_one(tmp_path: Path) -> None:
    members = metals(12)
    for number, frame in enumerate(members):
        frame.task = ("pbe", "scan", "")[number % 3]
    write_frames(tmp_path / "mixed.extxyz", members)
    atom = Frame(Atoms("Cu"), energy=-1.0)
    write_frames(tmp_path / "atoms.extxyz", [atom])

    def load(**settings: str) -> Frames:
        one = SetConfig(path="mixed.extxyz", valid_fraction=0.0, **settings)
        return load_frames(DataConfig(root=str(tmp_path), sets=[one]))

    assert [frame.task for frame in load().train] == 4 * ["pbe", "scan", "default"]
    assert load(task="pbe").tasks == ["pbe"]
    assert load(task="pbe", isolated_atoms="atoms.extxyz").isolated == {("pbe", "Cu"): -1.0}
    with pytest.raises(UserError, match=r"data.sets.0.isolated_atoms .* default and pbe and scan"):
        load(isolated_atoms="atoms.extxyz")


def test_isolated_atoms_of_one_task_have_one_energy(root: Path) -> None:
    """The last set's had won without a word."""
    for name, energy in (("atoms", -1.0), ("others", -2.0)):
        write_frames(root / f"{name}.extxyz", [Frame(Atoms("Cu"), energy=energy)])

    def load(other: str) -> Frames:
        sets = [
            SetConfig(path="a.extxyz", isolated_atoms="atoms.extxyz"),
            SetConfig(path="b.extxyz", isolated_atoms=other),
        ]
        return load_frames(DataConfig(root=str(root), sets=sets))

    assert load("atoms.extxyz").isolated == {("default", "Cu"): -1.0}
    with pytest.raises(
        UserError, match=r"data.sets.1.isolated_atoms gives Cu .* -2 eV where .* -1"
    ):
        load("others.extxyz")


def test_frames_with_large_forces_are_dropped(root: Path) -> None:
    largest = sorted(frame.max_force for frame in metals(20))
    limit = 0.5 * (largest[9] + largest[10])
    config = DataConfig(root=str(root), sets=[SetConfig(path="a.extxyz")], max_force=limit)
    frames = load_frames(config)
    assert len(frames.train) + len(frames.valid) == 10
    assert list(frames.dropped.values()) == [10]


def test_a_graph_beyond_the_memory_does_not_keep_others_out() -> None:
    small = Frame(bulk("Si", cubic=True), task="t")
    large = Frame(bulk("Si", cubic=True).repeat(4), task="t")
    store = GraphStore([small, large, small], ["t"], 4.0, 3.0, memory=1e-4)
    assert [store.graph(index) is store.graph(index) for index in range(3)] == [True, False, True]


def test_graphs_of_both_parts_share_what_may_be_kept() -> None:
    """Each had all of it."""
    crystals = [Frame(bulk("Si", cubic=True), energy=0.0, task="t") for _ in range(4)]
    model = {"preset": "tiny", "elements": ["Si"]}

    def kept(memory: float) -> int:
        content = {
            "model": model, "data": {"sets": [{"path": "none"}], "graph_memory": memory},
            "train": {"steps": 1}, "batch": {"structures": 1}, "loss": {"forces": {"weight": 0.0}},
        }  # fmt: skip
        frames = Frames(train=crystals[:2], valid=crystals[2:])
        config = filled_in(Config.model_validate(content), frames)
        data = prepare(config, frames, torch.device("cpu"))
        return sum(
            store.graph(index) is store.graph(index)
            for store in (data.train, data.valid)
            for index in range(len(store))
        )

    tiny = preset("tiny")
    graph = build_graph(crystals[0].atoms, tiny.cutoff, tiny.line_cutoff)
    arrays = graph.numbers, graph.offsets, graph.neighbours, graph.vectors, graph.num_line
    size = 1e-9 * sum(array.nbytes for array in arrays)
    assert [kept(4.5 * size), kept(2.5 * size), kept(1.5 * size)] == [4, 2, 0]


def made_up(count: int, energies: dict[str, float], noise: float = 0.0) -> list[Frame]:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(count):
        symbols = list(rng.choice(list(energies), size=rng.integers(1, 12)))
        energy = sum(energies[s] for s in symbols) + noise * rng.normal() * len(symbols)
        frames.append(Frame(Atoms(symbols), energy=energy, task="t"))
    return frames


def test_the_fit_finds_what_made_the_energies() -> None:
    true = {"H": -13.6, "O": -432.0, "Si": -150.0}
    found = fit_references(made_up(200, true), list(true), {})
    residual = [
        (f.energy - sum(found[s] for s in f.atoms.symbols)) / len(f.atoms)
        for f in made_up(50, true)
    ]
    assert np.abs(residual).max() < 1.5
    assert found == pytest.approx(true, rel=0.02)


def test_all_electron_energies_of_a_rare_element_are_fitted_as_they_are() -> None:
    """A few frames hold one iron atom among light ones, which is 34,500 eV below them."""
    true = {"H": -13.6, "C": -1036.0, "O": -2045.0, "Fe": -34500.0}
    rng = np.random.default_rng(0)
    frames = []
    for number in range(3000):
        iron = ["Fe"] if number < 5 else []
        symbols = [*rng.choice(["H", "C", "O"], size=rng.integers(20, 60)), *iron]
        energy = sum(true[s] for s in symbols) + 0.02 * rng.normal() * len(symbols)
        frames.append(Frame(Atoms(symbols), energy=energy, task="t"))
    found = fit_references(frames, list(true), {})
    assert found == pytest.approx(true, abs=2.0)


def test_a_rare_element_of_noisy_energies_is_not_far_from_the_others() -> None:
    frames = made_up(500, {"H": -3.0, "O": -5.0, "Si": -4.0}, noise=0.5)
    frames.append(Frame(Atoms("Kr" + "O19"), energy=-95.0 - 10.0, task="t"))
    found = fit_references(frames, ["H", "O", "Si", "Kr"], {})
    assert -8.0 < found["Kr"] < -3.0


def test_isolated_atoms_are_kept_and_the_rest_is_fitted() -> None:
    true = {"H": -13.6, "O": -432.0}
    frames = made_up(50, true)
    table = reference_energies(frames, ["H", "O"], {("t", "H"): -13.0})
    assert table["t", "H"] == -13.0
    assert table["t", "O"] == pytest.approx(-432.0, rel=0.01)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_what_binds_atoms_that_are_given_is_not_put_on_the_others(share: float) -> None:
    """H of a few frames got the cohesion of all of their silica, 130 eV."""
    rng = np.random.default_rng(0)
    frames = []
    for number in range(200):
        hydrogen = round(20 * share) if number % 4 == 0 else 0
        symbols = [*rng.choice(["Si", "O", "O"], size=20 - hydrogen), *hydrogen * ["H"]]
        energy = sum({"Si": -100.0, "O": -430.0, "H": -13.6}[s] for s in symbols)
        bound = -6.5 * (20 - hydrogen) + 0.2 * rng.normal() * 20
        frames.append(Frame(Atoms(symbols), energy=energy + bound, task="t"))
    found = fit_references(frames, ["H", "O", "Si"], {"O": -430.0, "Si": -100.0})
    assert (found["O"], found["Si"]) == (-430.0, -100.0)
    assert found["H"] == pytest.approx(-13.6, abs=2.0)


def test_an_element_of_isolated_atoms_alone_is_not_one_of_the_models(root: Path) -> None:
    """Such a model gave energies of an element it had never seen."""
    atoms = [Frame(Atoms(symbol), energy=-1.0) for symbol in ("Cu", "Au", "Fe")]
    write_frames(root / "atoms.extxyz", atoms)
    one = SetConfig(path="a.extxyz", isolated_atoms="atoms.extxyz")
    frames = load_frames(DataConfig(root=str(root), sets=[one]))
    assert frames.elements == ["Cu", "Au"]


def test_one_composition_only_still_gives_its_mean() -> None:
    frames = [Frame(Atoms("H2O"), energy=-30.0, task="t")] * 3
    found = fit_references(frames, ["H", "O", "Si"], {})
    assert 2 * found["H"] + found["O"] == pytest.approx(-30.0, rel=1e-3)
    assert found["Si"] == pytest.approx(-10.0, rel=1e-3)


def test_a_task_without_energies_has_zeros() -> None:
    frames = [Frame(Atoms("H2O"), forces=np.zeros((3, 3)), task="t")]
    assert set(reference_energies(frames, ["H", "O"], {}).values()) == {0.0}


@pytest.mark.parametrize("zero", [0.0, 1e-14])
def test_an_equation_of_state_without_forces_is_learnt_at_the_scale_of_its_energies(
    zero: float,
) -> None:
    """By symmetry its forces vanish: as text they are zero, in binary files what rounding leaves."""
    frames = [
        Frame(Atoms("Cu4"), energy=4.0 * energy, forces=np.full((4, 3), zero), task="t")
        for energy in (-3.4, -3.6, -3.5)
    ]
    references = reference_energies(frames, ["Cu"], {})
    assert energy_scale(frames, references) == pytest.approx(0.1 * np.sqrt(2 / 3), rel=1e-3)
    assert energy_scale(frames[:1], reference_energies(frames[:1], ["Cu"], {})) == 1.0


def test_forces_set_the_scale_wherever_there_are_some() -> None:
    frames = metals(5)
    forces = np.concatenate([frame.forces for frame in frames])
    references = reference_energies(frames, ["Cu", "Au"], {})
    assert energy_scale(frames, references) == np.sqrt(np.mean(forces**2))
    for frame in frames:
        frame.forces = None
    assert energy_scale(frames, references) == 1.0


def test_a_term_without_labels_says_what_they_may_be(config: Config) -> None:
    frames = load_frames(config.data)
    for frame in frames.train:
        frame.energy = None
        frame.atoms.info["REF_energy"] = -3.0
    words = r"loss\.energy has a weight but .* data\.sets\.keys where the label is \(.*, frame \d+ has REF_energy\)"
    with pytest.raises(UserError, match=words):
        filled_in(config, frames)
