"""One update of the weights."""

from __future__ import annotations

import pytest
import torch
from training_support import metals

from janus_md.errors import UserError
from janus_md.model import MatRISMoE
from janus_training.config import Config
from janus_training.graph_store import GraphStore
from janus_training.model_section import resolve_model
from janus_training.optimizer import build_optimizer
from janus_training.parallel.janus import Janus
from janus_training.parallel.mesh import Mesh
from janus_training.parallel.share import Shares
from janus_training.step import take_step


def stepping(method: str, clip: float | None = 10.0):
    """A model, and a function that takes a step with it."""
    section = {"preset": "tiny", "cutoff": 4.0, "line_cutoff": 3.0}
    model_config = resolve_model(section, ["Cu", "Au"], [""])
    config = Config.model_validate(
        {
            "model": model_config.model_dump(mode="json"),
            "data": {"sets": [{"path": "none"}]},
            "optimiser": {"method": method, "clip": clip},
            "train": {"steps": 1},
        }
    )
    torch.manual_seed(0)
    janus = Janus(MatRISMoE(model_config), Mesh(), config.parallel)
    store = GraphStore(metals(2), [""], 4.0, 3.0, 1.0)
    share = Shares(store, janus.mesh, janus.too_large)(range(2))
    optimizer = build_optimizer(janus.model, config.optimiser, 2.0)
    return janus.model, lambda: take_step(janus, optimizer, share, config, 0.5)


@pytest.mark.parametrize("method", ["adamw", "muon", "soap"])
def test_a_loss_that_is_not_finite_is_refused(method: str) -> None:
    """SOAP asks for eigenvectors of the gradients before anything is known of them."""
    model, step = stepping(method)
    with torch.no_grad():
        model.heads["energy"].hidden.weight[0, 0] = torch.nan
    with pytest.raises(UserError, match="no longer finite"):
        step()


def test_gradients_are_scaled_to_the_limit() -> None:
    model, step = stepping("adamw", clip=1e-3)
    row = step()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert row["gradient"] > 1e-2
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_no_limit_leaves_gradients_as_they_are() -> None:
    model, step = stepping("adamw", clip=None)
    row = step()
    norm = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    assert row["gradient"] == pytest.approx(float(norm), rel=1e-5)
