"""One update of the weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from janus_md.errors import UserError
from janus_training.config import Config
from janus_training.evaluate import with_volumes
from janus_training.loss import loss_terms, total_loss, weights_at
from janus_training.parallel.janus import Janus
from janus_training.parallel.ledger import BETWEEN, ENERGY
from janus_training.parallel.share import Share


def take_step(
    janus: Janus, optimizer: torch.optim.Optimizer, share: Share, config: Config, progress: float
) -> dict[str, Any]:
    """One update; the loss of the whole batch, its terms, and the gradient's norm before clipping."""
    weights = weights_at(config.loss, progress)
    batch = share.batch
    stress = weights["stress"] > 0 and batch.members["stress"] > 0
    weights["stress"] = weights["stress"] if stress else 0.0
    if stress:
        share = replace(share, batch=replace(batch, graphs=with_volumes(batch.graphs)))
    janus.mesh.ledger.phase = ENERGY
    prediction = janus.predict(share, stress=stress)
    terms = loss_terms(config.loss, weights, prediction, batch.targets, batch.members)
    loss = total_loss(terms, weights, prediction)
    optimizer.zero_grad(set_to_none=True)
    janus.backward(loss)
    norm = janus.clip(math.inf if config.optimiser.clip is None else config.optimiser.clip)
    try:
        optimizer.step()
    except torch.linalg.LinAlgError:  # as SOAP's, which asks for eigenvectors of gradients
        if math.isfinite(float(norm)):
            raise
    # All has been launched: only now is a device waited for.
    size, *own = torch.stack([norm, loss, *terms.values()]).detach().tolist()
    if not math.isfinite(size):
        raise UserError("the loss is no longer finite; start again with a lower optimiser.lr")
    janus.mesh.ledger.phase = BETWEEN
    return dict(zip(["loss", *terms], janus.mesh.total(own), strict=True)) | {"gradient": size}
