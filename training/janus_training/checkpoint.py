"""Checkpoints of a run: whole or absent, whatever kills a process.

    RUN/checkpoints/step-00001200/   model.safetensors + model.json   averaged weights: what is released
                                     training.safetensors             own weights, moments, random state
                                     training.json                    step, sampler position, time, best
    RUN/checkpoints/last, best       links to such folders

The ranks of a unit each write what they hold, ``model-00001-of-00004.safetensors`` and so on; any number of ranks reads
it back. Files are written behind the training, under another folder's name, and flushed; once all ranks are done the
folder is renamed, and a link is replaced in one operation. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from threading import Event

import torch
from torch import Tensor

from janus_md.errors import UserError
from janus_md.model.checkpoint import WEIGHTS as MODEL
from janus_md.model.checkpoint import write_description
from janus_md.model.parts import Parts, write_part
from janus_md.out_of_memory import is_out_of_memory
from janus_md.run_folder import BEST, LAST, checkpoints_of
from janus_training.checkpoint_links import (
    point,
    remove_unused,
    scratch_name,
    step_name,
)
from janus_training.ema import Ema
from janus_training.parallel.janus import Janus
from janus_training.progress import STATE, Progress, load_progress

WEIGHTS = "training.safetensors"
POLL_SECONDS = 0.02


class Checkpoints:
    """Writes and restores what a rank holds of a run."""

    def __init__(
        self, run: Path, janus: Janus, optimizer: torch.optim.Optimizer, ema: Ema, behind: bool
    ) -> None:
        """behind: write from a copy while training goes on; else :meth:`save` returns once all is written."""
        self._root = checkpoints_of(run)
        self._janus, self._optimizer, self._ema = janus, optimizer, ema
        self._behind = behind
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None
        self._closed: Future[None] | None = None
        self._abandoned = Event()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Finish what is being written, unless something went wrong: other ranks may be gone."""
        if kind is not None:
            self._abandoned.set()
        self._writer.shutdown()

    def load(self) -> Progress | None:
        """Restore the last checkpoint in place; None where the run has not written any."""
        folder = self._root / LAST
        if not folder.exists():
            return None
        try:
            with (
                closing(Parts(folder / WEIGHTS)) as own,
                closing(Parts(folder / MODEL)) as averaged,
            ):
                self._restore(own, averaged)
        except (OSError, ValueError, KeyError, RuntimeError) as fault:
            if is_out_of_memory(fault):
                raise
            raise UserError(
                f"{folder} is incomplete or of another model; restore it from a copy or start a new run"
            ) from fault
        return load_progress(self._root.parent)

    def save(self, progress: Progress, best: bool) -> None:
        """Write the present state as ``last``, and as ``best`` too where asked, while training goes on."""
        self.wait()
        links = (LAST, BEST) if best else (LAST,)
        name = step_name(progress.step)
        mesh = self._janus.mesh
        content = json.dumps(asdict(progress), indent=2) + "\n"
        # The first rank, which gives the folder its name, knows whether it has it.
        if mesh.any(mesh.first and (self._root / name).exists()):
            if mesh.first:
                # The weights are there already; they may have turned out to be the best meanwhile.
                _replace(self._root / name / STATE, content)
                self._point(links, name)
            return
        scratch = self._root / scratch_name(progress.step)
        if mesh.replicas.place == 0:
            own, averaged = self._own(), self._averaged()
            self._written = self._writer.submit(self._write, scratch, own, averaged)
        if mesh.first:
            self._closed = self._writer.submit(self._close, scratch, name, links, content)
        if not self._behind:
            self.wait()

    def wait(self) -> None:
        """Until everything is on disk. Raises what went wrong while it was written, on any rank."""
        if self._written is not None:
            self._written.result()
        # Fails where a rank is gone: without its part the first one would wait for ever.
        self._janus.mesh.barrier()
        if self._closed is not None:
            self._closed.result()
        self._written = self._closed = None

    def _write(self, scratch: Path, own: dict[str, Tensor], averaged: dict[str, Tensor]) -> None:
        """This rank's part; a mark tells the first rank that it is there."""
        unit = self._janus.mesh.unit
        scratch.mkdir(parents=True, exist_ok=True)
        for file, tensors in ((WEIGHTS, own), (MODEL, averaged)):
            rows = {key: self._janus.rows[_parameter(key)] for key in tensors if self._divided(key)}
            _flush(write_part(scratch / file, tensors, rows, unit.place, unit.size))
        _mark(scratch, unit.place).touch()

    def _close(self, scratch: Path, name: str, links: tuple[str, ...], content: str) -> None:
        """Once all parts are there: the rest, and the name."""
        write_description(self._janus.model, scratch)
        (scratch / STATE).write_text(content)
        marks = [_mark(scratch, place) for place in range(self._janus.mesh.unit.size)]
        while not all(mark.exists() for mark in marks):
            if self._abandoned.wait(POLL_SECONDS):
                return
        for mark in marks:
            mark.unlink()
        for file in scratch.iterdir():
            _flush(file)
        scratch.rename(self._root / name)
        self._point(links, name)

    def _point(self, links: tuple[str, ...], name: str) -> None:
        for link in links:
            point(self._root, link, name)
        remove_unused(self._root)

    def _divided(self, key: str) -> bool:
        return _parameter(key) in self._janus.rows

    def _own(self) -> dict[str, Tensor]:
        """Weights and moments that this rank writes, copied: training goes on meanwhile."""
        tensors = {f"model.{name}": value for name, value in self._spoken_for().items()}
        for name, parameter in self._janus.model.named_parameters():
            if f"model.{name}" in tensors:
                for moment, value in self._optimizer.state.get(parameter, {}).items():
                    tensors[f"optimizer.{name}.{moment}"] = value
        if self._janus.mesh.first:
            tensors["random.cpu"] = torch.get_rng_state()
            if torch.cuda.is_available():
                tensors["random.cuda"] = torch.cuda.get_rng_state()
        return {name: self._taken(value) for name, value in tensors.items()}

    def _averaged(self) -> dict[str, Tensor]:
        with self._ema.applied():
            return {name: self._taken(value) for name, value in self._spoken_for().items()}

    def _taken(self, value: Tensor) -> Tensor:
        """On the CPU, and not changed by what comes after if it is written behind the training."""
        return value.detach().to("cpu", copy=self._behind).contiguous()

    def _spoken_for(self) -> dict[str, Tensor]:
        """Parameters and buffers that no rank before this one in its unit writes."""
        state = dict(self._janus.model.state_dict(keep_vars=True))
        if self._janus.mesh.unit.place > 0:
            held = {id(parameter) for parameter in self._janus.sharded}
            state = {name: value for name, value in state.items() if id(value) in held}
        return {name: value for name, value in state.items() if value.numel()}

    def _restore(self, own: Parts, averaged: Parts) -> None:
        rows = self._janus.rows
        moments = [name.split(".", 1)[1] for name in own.names if name.startswith("optimizer.")]
        with torch.no_grad():
            for name, value in self._janus.model.state_dict(keep_vars=True).items():
                if not value.numel():
                    continue
                value.copy_(own.tensor(f"model.{name}", rows.get(name)))
                if name in self._ema.shadow:
                    self._ema.shadow[name].copy_(averaged.tensor(name, rows.get(name)))
                for moment in (m for m in moments if m.rpartition(".")[0] == name):
                    kept = own.tensor(f"optimizer.{moment}")
                    if kept.ndim and name in rows:
                        kept = own.tensor(f"optimizer.{moment}", rows[name])
                    state = self._optimizer.state[value]
                    state[moment.rpartition(".")[2]] = kept.to(value.device)
        torch.set_rng_state(own.tensor("random.cpu"))
        if torch.cuda.is_available() and "random.cuda" in own.names:
            torch.cuda.set_rng_state(own.tensor("random.cuda"))


def _parameter(key: str) -> str:
    """Name of the parameter that a tensor with as many rows belongs to; of any other tensor, another name."""
    kind, _, rest = key.partition(".")
    if kind == "optimizer":
        name, _, moment = rest.rpartition(".")
        return f"{name}.{moment}" if moment == "step" else name
    return rest if kind == "model" else key


def _mark(scratch: Path, place: int) -> Path:
    """Present once the rank at ``place`` of the unit has written its part."""
    return scratch / f".done-{place}"


def _flush(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _replace(file: Path, content: str) -> None:
    scratch = file.with_name(f".{file.name}.part")
    scratch.write_text(content)
    _flush(scratch)
    scratch.replace(file)
