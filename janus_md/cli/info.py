"""`janus-md info`: what a model file, a checkpoint, a training run or a data file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus_md.errors import UserError

Facts = dict[str, object]


def register(app: typer.Typer) -> None:
    app.command(name="info", help="Say what a model, checkpoint, run or data file holds.")(info)


def info(
    path: Annotated[Path, typer.Argument(help="Model file, checkpoint, run or data.")],
) -> None:
    """Print one fact a line."""
    facts = describe(path)
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {value}")


def describe(path: str | Path) -> Facts:
    """The facts that ``janus-md info`` prints; raises ``UserError`` for what it does not know."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} does not exist: check the name")
    if path.is_dir():
        return _describe_folder(path)
    if path.name.endswith(".pt"):
        return _describe_exported(path)
    return _describe_data(path)


def _describe_exported(path: Path) -> Facts:
    from janus_md.export import load_exported

    manifest = load_exported(path).manifest
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return {
        "kind": f"exported model ({manifest.engine}, format {manifest.format_version})",
        "elements": " ".join(manifest.elements),
        "tasks": ", ".join(manifest.tasks),
        "cutoffs": f"{manifest.cutoff} Å, line graph {manifest.line_cutoff} Å",
        "precision": manifest.dtype,
        "size": f"{manifest.num_blocks} blocks, {manifest.feature_width} channels of an atom",
        "parameters": f"{manifest.parameters:,} trained, {manifest.active_parameters:,} active",
        "magnetic moments": "yes" if manifest.magmoms else "no",
        "uses": _uses(manifest.uses_charge, manifest.uses_spin, manifest.uses_composition),
        "checkpoint": f"sha256 {manifest.checkpoint_sha256[:16]}…",
        "written by": versions,
        "plugin": f"{manifest.minimum_plugin_version} or newer",
    }


def _describe_folder(path: Path) -> Facts:
    from janus_md.run_folder import checkpoint_folder, holds_model

    if not holds_model(path):
        return _describe_data(path)
    folder = checkpoint_folder(path)
    from janus_md.export.write import active_parameters
    from janus_md.model.checkpoint import load_model

    model = load_model(folder)
    config = model.config
    messages, features = config.num_message_experts, config.num_feature_experts
    experts = (
        f"{messages} routed for messages, {features} for features, {config.top_k} per element, "
        f"{config.num_shared_experts} shared"
        if messages or features
        else "none (dense)"
    )
    total = sum(parameter.numel() for parameter in model.parameters())
    return {
        "kind": "checkpoint" if folder == path else f"training run, showing {folder}",
        "elements": " ".join(config.elements),
        "tasks": ", ".join(config.tasks),
        "cutoffs": f"{config.cutoff} Å, line graph {config.line_cutoff} Å",
        "size": f"{config.blocks} blocks, {config.width} channels of an atom, {config.edge_width} of an edge",
        "experts": experts,
        "parameters": f"{total:,}, {active_parameters(model):,} active per element",
        "magnetic moments": "yes" if config.magmoms else "no",
        "uses": _uses(config.charge, config.spin, config.composition),
    }


def _uses(charge: bool, spin: bool, composition: bool) -> str:
    flags = {"charge": charge, "spin": spin, "composition": composition}
    return ", ".join(name for name, used in flags.items() if used) or "geometry alone"


def _describe_data(path: Path) -> Facts:
    from janus_md.io import read_frames
    from janus_md.io.frames import LABELS
    from janus_md.io.summary import summarise

    frames = read_frames(path)
    found = summarise(frames)
    return {
        "kind": "structures",
        "frames": found.frames,
        "atoms": f"{found.smallest} to {found.largest} per frame, {found.atoms:,} in all",
        "elements": " ".join(f"{symbol}({count})" for symbol, count in found.elements.items()),
        "periodic": _share(found.periodic, found.frames),
        **{name: _share(found.labels.get(name, 0), found.frames) for name in LABELS},
        "largest force": f"{max(frame.max_force for frame in frames):.3f} eV/Å",
    }


def _share(count: int, frames: int) -> str:
    if count == frames:
        return "all frames"
    return f"{count} of {frames} frames" if count else "no frame"
