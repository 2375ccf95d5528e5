"""Gradients of what every rank holds, summed in buckets while backward still runs, and the norm over all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from janus_training.parallel.collectives import Pending, start_all_reduce
from janus_training.parallel.mesh import Group, Mesh

BUCKET_BYTES = 4 * 1024**2


class _Bucket:
    def __init__(self) -> None:
        self.parameters: list[Tensor] = []
        self.ready = 0
        self.pending: Pending | None = None

    @property
    def size(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.parameters)


class Buckets:
    """Sums the gradients of ``parameters`` over a group; buckets leave in a fixed order, the same on every rank."""

    def __init__(self, parameters: Sequence[Tensor], group: Group, overlap: bool) -> None:
        self._group = group
        self._buckets: list[_Bucket] = []
        self._next = 0
        if group.size == 1:
            return
        # Backward reaches the last parameters first.
        for parameter in reversed(parameters):
            if not self._buckets or self._buckets[-1].size >= BUCKET_BYTES:
                self._buckets.append(_Bucket())
            bucket = self._buckets[-1]
            bucket.parameters.append(parameter)
            if overlap:
                parameter.register_post_accumulate_grad_hook(lambda _, b=bucket: self._arrived(b))

    def finish(self) -> None:
        """Wait for all; a parameter that no rank's loss depends on has no gradient still."""
        while self._next < len(self._buckets):
            self._launch()
        for bucket in self._buckets:
            assert bucket.pending is not None
            flat = bucket.pending.wait()
            used, values = flat[: len(bucket.parameters)].tolist(), flat[len(bucket.parameters) :]
            parts = values.split([p.numel() for p in bucket.parameters])
            for parameter, part, times in zip(bucket.parameters, parts, used, strict=True):
                parameter.grad = part.view_as(parameter) if times else None
            bucket.ready, bucket.pending = 0, None
        self._next = 0

    def _arrived(self, bucket: _Bucket) -> None:
        bucket.ready += 1
        while self._next < len(self._buckets):
            waiting = self._buckets[self._next]
            if waiting.ready < len(waiting.parameters):
                break
            self._launch()

    def _launch(self) -> None:
        bucket = self._buckets[self._next]
        self._next += 1
        first = bucket.parameters[0]
        # How many ranks have a gradient at all travels in front.
        used = [float(p.grad is not None) for p in bucket.parameters]
        gradients = [
            p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten()
            for p in bucket.parameters
        ]
        flat = torch.cat([first.new_tensor(used), *gradients])
        bucket.pending = start_all_reduce(flat, self._group, "gradients")


def clip_to_norm(
    everywhere: Sequence[Tensor], sharded: Sequence[Tensor], mesh: Mesh, limit: float
) -> Tensor:
    """Scale all gradients so that their common norm is at most ``limit``; the norm before, float64, where they are.

    Args:
        everywhere: parameters that every rank holds. sharded: this rank's parts of the others.
    """
    device = next(p.device for p in (*everywhere, *sharded))
    common = torch.stack([_squares(everywhere, device), _squares(sharded, device)])
    if mesh.unit.size > 1:
        common[1:] = start_all_reduce(common[1:].clone(), mesh.unit, "norm").wait()
    norm = common.sum().sqrt()
    # Also where nothing is to be scaled: to know that, a device would have to be waited for.
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    gradients = [p.grad for p in (*everywhere, *sharded) if p.grad is not None]
    if gradients:
        torch._foreach_mul_(gradients, scale.to(gradients[0].dtype))
    return norm


def _squares(parameters: Sequence[Tensor], device: torch.device) -> Tensor:
    gradients = [p.grad for p in parameters if p.grad is not None and p.numel()]
    if not gradients:
        return torch.zeros((), dtype=torch.float64, device=device)
    return torch.stack(torch._foreach_norm(gradients)).double().square().sum()
