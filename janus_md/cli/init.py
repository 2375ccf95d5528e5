"""`janus-md init`: a model file with random weights, for benchmarks and for checking installations."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from janus_md.cli.options import Arithmetic, Elements, Force, ModelOutput, Precision
from janus_md.cli.outputs import element_symbols, refuse_existing, refuse_other_ending

DENSITY = 0.05
"""Atoms per Å³ of an ordinary solid."""


def register(app: typer.Typer) -> None:
    app.command(name="init", help="Write a model with random weights.")(init)


def init(
    preset: Annotated[
        str, typer.Argument(help="tiny, lean, small, fast, 10m, moe-s, moe-m or moe-l.")
    ],
    output: ModelOutput,
    elements: Elements = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the random weights.")
    ] = 0,
    precision: Arithmetic = Precision.single,
    force: Force = False,
) -> None:
    """Draw weights from ``seed`` and export them; forces in a solid are tenths of an eV/Å to a few eV/Å."""
    refuse_existing(output, force)
    refuse_other_ending(output)
    symbols = element_symbols(elements)
    from janus_md.model import preset as model_preset

    config = model_preset(preset, **({"elements": symbols} if symbols else {}))
    import torch

    from janus_md.export import export_model
    from janus_md.export.memory import refuse_beyond_memory
    from janus_md.model import MatRISMoE

    with torch.device("meta"):  # the largest presets have more weights than many machines hold
        refuse_beyond_memory(MatRISMoE(config), len(config.elements))
    torch.manual_seed(seed)
    model = MatRISMoE(config)
    model.set_statistics({}, 1.0, neighbours(config.cutoff), neighbours(config.line_cutoff))
    export_model(model, output, precision=precision.value, overwrite=force)
    typer.echo(
        f"{output}: {preset} with random weights (seed {seed}), {len(config.elements)} elements"
    )


def neighbours(cutoff: float) -> float:
    """How many atoms of an ordinary solid lie within ``cutoff`` (Å) of one of them."""
    return DENSITY * 4.0 / 3.0 * math.pi * cutoff**3
