"""Merging experts and writing ``*.janus.pt``."""

from __future__ import annotations

import copy
import gc
import hashlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import ase
import torch
from ase.data import atomic_numbers, covalent_radii
from torch import nn

import janus_md
from janus_md.errors import UserError, nearest
from janus_md.export.manifest import ENTRY, Manifest, weights_crc32
from janus_md.export.memory import refuse_beyond_memory
from janus_md.export.model_file import load_exported
from janus_md.folders import make_writable
from janus_md.graph import batch_graphs, build_graph
from janus_md.model import MatRISMoE, predict
from janus_md.model.experts import ExpertMLP, RoutedExperts

PRECISIONS = {"single": torch.float32, "double": torch.float64}


def merge_experts(model: MatRISMoE, elements: Sequence[str] | None = None) -> MatRISMoE:
    """A copy of ``model`` for ``elements`` (all it knows, if None) without routers: the same energies to rounding.

    Raises:
        UserError: the model does not know one of the elements.
    """
    known = model.config.elements
    wanted = set(elements or known)
    for symbol in sorted(wanted - set(known)):
        raise UserError(
            f"the model does not know the element {symbol}{nearest(symbol, known)}: "
            "name only elements it was trained on"
        )
    wanted = sorted(wanted, key=atomic_numbers.__getitem__)
    species = torch.tensor([known.index(symbol) for symbol in wanted])
    config = model.config.model_copy(update={"elements": wanted})
    # The copy takes these for copies already made, so that no expert is copied to be thrown away.
    perceptrons = {
        id(layer): layer.merge(species) for layer in model.modules() if isinstance(layer, ExpertMLP)
    }
    merged = copy.deepcopy(model, perceptrons)
    merged.config = config
    merged.atomic_numbers = config.atomic_numbers
    merged.num_elements = merged.geometry.num_elements = len(wanted)
    with torch.no_grad():
        embedding = merged.embedding
        embedding.element = nn.Embedding.from_pretrained(embedding.element.weight[species].clone())
        if config.num_reduced:
            radii = merged.geometry.reduced.radii
            merged.geometry.reduced.radii = nn.Parameter(radii[species])
        if config.composition:
            embedding.composition.weight = nn.Parameter(embedding.composition.weight[:, species])
        references = merged.heads["energy"].references
        references.table = references.table[:, species].clone()
    return merged.eval().requires_grad_(False)


def export_model(
    model: MatRISMoE,
    path: str | Path,
    elements: Sequence[str] | None = None,
    precision: Literal["single", "double"] = "single",
    frames: Sequence[ase.Atoms] | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Write ``model`` to ``path`` as one TorchScript file, checked against the model before it gets its name.

    Args:
        frames: structures to check on, those with other elements left out; a rattled cluster if None.

    Raises:
        UserError: the file exists, an element is unknown, memory does not suffice, or the file disagrees with the
            model.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path} already exists: choose another name or remove it first")
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r} is neither 'single' nor 'double'")
    refuse_beyond_memory(model, len(set(elements or model.config.elements)))
    # Gates and stacked weights are made in float64 and rounded once; files are read and compared on the CPU.
    exact = copy.deepcopy(model).to("cpu", torch.float64).eval()
    merged = merge_experts(exact, elements).to(PRECISIONS[precision])
    manifest = _describe(model, merged, precision)
    with warnings.catch_warnings():
        # TorchScript is deprecated in favour of torch.export; it is the engine of this format version.
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(merged)
    make_writable(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(handle)
    try:
        torch.jit.save(scripted, temporary, _extra_files={ENTRY: manifest.model_dump_json()})
        # The check loads these weights a second time; cycles keep those of a scripted module.
        del merged, scripted
        gc.collect()
        _check(exact, Path(temporary), manifest, _suitable(frames, manifest.elements))
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files for their owner alone
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return manifest


def _umask() -> int:
    """The process's mask; there is no way to read it but to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _describe(model: MatRISMoE, merged: MatRISMoE, precision: str) -> Manifest:
    config = merged.config
    return Manifest(
        cutoff=config.cutoff,
        line_cutoff=config.line_cutoff,
        elements=config.elements,
        tasks=config.tasks,
        dtype="float32" if precision == "single" else "float64",
        num_blocks=config.blocks,
        feature_width=config.width,
        parameters=sum(p.numel() for p in model.parameters()),
        active_parameters=active_parameters(model),
        magmoms=config.magmoms,
        uses_charge=config.charge,
        uses_spin=config.spin,
        uses_composition=config.composition,
        checkpoint_sha256=_hash(model),
        weights_crc32=weights_crc32(merged),
        versions={"janus_md": janus_md.__version__, "torch": str(torch.__version__)},
    )


def active_parameters(model: MatRISMoE) -> int:
    """Parameters that act on one element: all but the routers and the experts they leave out."""
    total = sum(p.numel() for p in model.parameters())
    for module in model.modules():
        if isinstance(module, RoutedExperts):
            idle = len(module.w1) - module.router.top_k
            total -= idle * sum(w[0].numel() for w in (module.w1, module.w2))
            total -= module.router.table.numel()
    return total


def _hash(model: MatRISMoE) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _suitable(frames: Sequence[ase.Atoms] | None, elements: list[str]) -> list[ase.Atoms]:
    chosen = [frame for frame in frames or () if set(frame.symbols) <= set(elements)][:8]
    return chosen or [_cluster(elements)]


def _cluster(elements: list[str]) -> ase.Atoms:
    """A periodic rattled arrangement that holds each element (of the first 32) twice."""
    symbols = (elements[:32] * 2)[: max(2, 2 * min(len(elements), 32))]
    spacing = 2.0 * max(float(covalent_radii[atomic_numbers[s]]) for s in symbols)
    side = int(len(symbols) ** (1 / 3)) + 1
    grid = [(x, y, z) for x in range(side) for y in range(side) for z in range(side)]
    positions = [[spacing * c for c in point] for point in grid[: len(symbols)]]
    atoms = ase.Atoms(symbols, positions, cell=[spacing * side] * 3, pbc=True)
    atoms.rattle(0.2, seed=0)
    return atoms


def _check(exact: MatRISMoE, path: Path, manifest: Manifest, frames: list[ase.Atoms]) -> None:
    """Compare the file with the routed model in float64: every frame, every task, charged and spinning ones, too."""
    potential = load_exported(path)
    energy_bound, force_bound = (1e-9, 1e-8) if manifest.dtype == "float64" else (2e-5, 2e-4)
    states = _states(manifest)
    for number in range(max(len(frames), len(states))):
        frame, (task, charge, spin) = frames[number % len(frames)], states[number % len(states)]
        graph = build_graph(frame, manifest.cutoff, manifest.line_cutoff)
        batch = batch_graphs([graph], task=[task], charge=[charge], spin=[spin])
        expected = predict(exact, batch)
        found = predict(potential.module, batch)
        size = 1.0 + float(expected.forces.abs().max())
        energy = float((found.energy - expected.energy).abs().max()) / len(frame)
        force = float((found.forces - expected.forces).abs().max())
        if not (energy <= energy_bound * size and force <= force_bound * size):
            raise UserError(
                f"the exported model disagrees with the checkpoint on {frame.get_chemical_formula()} by "
                f"{energy:.1e} eV/atom and {force:.1e} eV/Å (task {manifest.tasks[task]}, charge {charge:g}, spin "
                f"{spin:g}), so nothing was written: try --precision double"
            )


def _states(manifest: Manifest) -> list[tuple[int, float, float]]:
    """Tasks, charges (e) and spin multiplicities to compare at: each task, and each with what else the model uses."""
    tasks = range(len(manifest.tasks))
    states = [(task, 0.0, 0.0) for task in tasks]
    if manifest.uses_charge or manifest.uses_spin:
        charge, spin = float(manifest.uses_charge), 2.0 * manifest.uses_spin
        states += [(task, charge, spin) for task in tasks]
    return states
