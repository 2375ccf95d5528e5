"""Forms of the loss, and labels that are missing."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from janus_md.graph import batch_graphs, build_graph
from janus_md.io import Frame
from janus_md.model import MatRISMoE, predict, preset
from janus_training.batches import targets_of
from janus_training.config import LossConfig, StressConfig, TermConfig
from janus_training.evaluate import with_volumes
from janus_training.graph_store import GraphStore
from janus_training.loss import loss_terms, penalty, total_loss

ALL = LossConfig(
    energy=TermConfig(weight=1.0, form="l1"),
    forces=TermConfig(weight=2.0, form="norm"),
    stress=StressConfig(weight=3.0, form="l2"),
)
WEIGHTS = {"energy": 1.0, "forces": 2.0, "stress": 3.0, "magmoms": 0.0}


def crystal(seed: int, **labels: bool) -> Frame:
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=seed)
    stress = rng.normal(size=(3, 3))
    frame = Frame(atoms, -40.0, rng.normal(size=(8, 3)), stress + stress.T, task="a")
    for name in labels:
        setattr(frame, name, None)
    return frame


@pytest.fixture(scope="module")
def model() -> MatRISMoE:
    torch.manual_seed(0)
    config = preset("tiny", elements=["H", "O", "Si"], tasks=["a"], cutoff=4.0, line_cutoff=3.0)
    return MatRISMoE(config).double()


def gradients(model: MatRISMoE, frames: list[Frame]) -> tuple[float, list[torch.Tensor]]:
    store = GraphStore(frames, ["a"], 4.0, 3.0, 1.0)
    batch = store.batch(range(len(frames)))
    prediction = predict(model, with_volumes(batch.graphs), stress=True, training=True)
    terms = loss_terms(ALL, WEIGHTS, prediction, batch.targets, batch.members)
    loss = total_loss(terms, WEIGHTS, prediction)
    used = list(model.parameters())
    found = torch.autograd.grad(loss, used, allow_unused=True)
    slopes = [torch.zeros_like(p) if g is None else g for p, g in zip(used, found, strict=True)]
    return float(loss.detach()), slopes


@pytest.mark.parametrize(
    ("form", "value"), [("l1", 3.5), ("l2", 12.5), ("norm", 5.0), ("huber", 3.0)]
)
def test_forms(form: str, value: float) -> None:
    term = TermConfig(form=form, delta=1.0)  # type: ignore[arg-type]
    difference = torch.tensor([[3.0, 4.0], [7.0, 8.0]])
    found = penalty(difference, torch.tensor([True, False]), term, 1)
    assert float(found) == pytest.approx(value)


def test_the_norm_has_a_derivative_at_zero() -> None:
    difference = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    labelled = torch.tensor([True, False])
    penalty(difference, labelled, TermConfig(form="norm"), 1).backward()
    assert torch.isfinite(difference.grad).all()


def test_frames_without_a_label_add_nothing(model: MatRISMoE) -> None:
    """A mean over the labelled: a frame without labels leaves loss and gradient as they are."""
    bare = Frame(molecule("H2O"), task="a")
    loss, slopes = gradients(model, [crystal(0), crystal(1)])
    again, same = gradients(model, [crystal(0), bare, crystal(1)])
    assert again == pytest.approx(loss, rel=1e-12)
    for a, b in zip(slopes, same, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_a_batch_without_any_label_has_no_gradient(model: MatRISMoE) -> None:
    loss, slopes = gradients(model, [Frame(bulk("Si"), task="a")])
    assert loss == 0.0
    assert all(not slope.any() for slope in slopes)


def test_without_any_weight_the_loss_is_zero_and_has_a_gradient(model: MatRISMoE) -> None:
    """The backward pass sends and receives, so every rank has to run it."""
    batch = GraphStore([crystal(0)], ["a"], 4.0, 3.0, 1.0).batch([0])
    prediction = predict(model, batch.graphs, training=True)
    loss = total_loss({}, dict.fromkeys(WEIGHTS, 0.0), prediction)
    assert float(loss.detach()) == 0.0
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    slopes = [g for g in found if g is not None]
    assert slopes and all(not slope.any() for slope in slopes)


@pytest.mark.parametrize("missing", ["energy", "forces", "stress"])
def test_one_label_missing_leaves_the_other_terms(model: MatRISMoE, missing: str) -> None:
    frames = [crystal(0), crystal(1, **{missing: True})]
    store = GraphStore(frames, ["a"], 4.0, 3.0, 1.0)
    batch = store.batch([0, 1])
    alone = store.batch([0])
    terms, single = (
        loss_terms(ALL, WEIGHTS, predict(model, b.graphs, stress=True), b.targets, b.members)
        for b in (batch, alone)
    )
    torch.testing.assert_close(terms[missing], single[missing], rtol=1e-9, atol=1e-12)
    other = "forces" if missing != "forces" else "energy"
    assert float(terms[other]) != pytest.approx(float(single[other]), rel=1e-6)


def test_labels_line_up_with_predictions(model: MatRISMoE) -> None:
    """Forces of the model itself as labels: the loss is zero whatever the order of atoms in a batch."""
    frames = [Frame(molecule("H2O"), task="a"), crystal(3), Frame(molecule("H2O2"), task="a")]
    for frame in frames:
        single = predict(model, batch_graphs([build_graph(frame.atoms, 4.0, 3.0)]))
        frame.energy, frame.forces = float(single.energy), single.forces.numpy()
    batch = GraphStore(frames, ["a"], 4.0, 3.0, 1.0).batch([2, 0, 1])
    found = predict(model, batch.graphs)
    terms = loss_terms(ALL, WEIGHTS | {"stress": 0.0}, found, batch.targets, batch.members)
    assert float(terms["forces"]) < 1e-8 and float(terms["energy"]) < 1e-10


def test_magnetic_moments_are_compared_without_sign() -> None:
    frame = crystal(0)
    frame.magmoms = np.linspace(-1, 1, 8)
    targets = targets_of([frame, crystal(1)])
    assert targets.magmoms.tolist() == [*np.abs(frame.magmoms), *[0.0] * 8]
    assert targets.has_magmoms.tolist() == [True] * 8 + [False] * 8
