"""`janus-md init`: a model file with random weights, for benchmarks and for checking installations."""

from __future__ import annotations

from typing import Annotated

import typer

from janus_md.cli.options import Arithmetic, Elements, Force, ModelOutput, Precision
from janus_md.cli.outputs import element_symbols, refuse_existing


def register(app: typer.Typer) -> None:
    app.command(name="init", help="Write a model with random weights.")(init)


def init(
    preset: Annotated[
        str, typer.Argument(help="tiny, lean, small, fast, 10m, moe-s, moe-m or moe-l.")
    ],
    output: ModelOutput,
    elements: Elements = None,
    seed: Annotated[int, typer.Option(help="Seed of the random weights.")] = 0,
    precision: Arithmetic = Precision.single,
    force: Force = False,
) -> None:
    """Draw weights from ``seed`` and export them."""
    refuse_existing(output, force)
    symbols = element_symbols(elements)
    from janus_md.model import preset as model_preset

    config = model_preset(preset, **({"elements": symbols} if symbols else {}))
    import torch

    from janus_md.export import export_model
    from janus_md.model import MatRISMoE

    torch.manual_seed(seed)
    model = MatRISMoE(config)
    export_model(model, output, precision=precision.value, overwrite=force)
    typer.echo(
        f"{output}: {preset} with random weights (seed {seed}), {len(config.elements)} elements"
    )
