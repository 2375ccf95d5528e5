"""`janus-md plan`: what a training step will take on a machine, and the layout to train with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_md.cli.options import Force, Settings
from janus_md.cli.outputs import refuse_existing
from janus_md.errors import UserError

if TYPE_CHECKING:
    from janus_training.planner.layout import Layout
    from janus_training.planner.plan import Plan, Row

SHOWN = 12
"""Layouts in the table; the JSON has all."""

WIDTH = 110
"""Columns of the table at least, also where the output is no terminal."""


def register(app: typer.Typer) -> None:
    app.command(name="plan", help="Predict memory, messages and time of a training step.")(plan)


def plan(
    recipe: Annotated[
        Path | None, typer.Argument(help="YAML file, or the name of a shipped recipe.")
    ] = None,
    machine: Annotated[
        Path, typer.Option("--machine", "-m", help="YAML file, or the name of a shipped machine.")
    ] = Path("laptop"),
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Ranks; all devices of the machine if left out.")
    ] = None,
    unit: Annotated[int | None, typer.Option(min=1, help="Plan for units of this size.")] = None,
    per_rank: Annotated[
        bool,
        typer.Option("--batch-per-rank", help="Each rank takes a batch as large as the recipe's."),
    ] = False,
    every_rank: Annotated[
        bool, typer.Option("--every-rank", help="Rehearse all ranks, not the busiest one alone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure this machine and write its file.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="With --measure: the file to write.")
    ] = None,
    settings: Settings = None,
    force: Force = False,
) -> None:
    """Rehearse a step in every layout without data or other processes, and say which is the fastest that fits.

    With --measure -o MACHINE.yaml the file of this machine is written instead.
    """
    if measure:
        if output is None:
            raise UserError("--measure has nowhere to write to; give -o MACHINE.yaml")
        refuse_existing(output, force)
        from janus_training.planner.machine import write_machine
        from janus_training.planner.measure import measured

        write_machine(measured(), output)
        typer.echo(f"{output}: this machine")
        return
    if recipe is None:
        raise UserError("no recipe is given; name a YAML file, or measure this machine (--measure)")
    from janus_training.planner.machine import load_machine
    from janus_training.recipe import load_config

    known = load_machine(machine)
    config = load_config(recipe, settings or [])
    from janus_training.planner.plan import plan as make_plan

    found = make_plan(config, known, ranks, unit, per_rank, every_rank, progress=_tell)
    if as_json:
        typer.echo(json.dumps(_facts(found), indent=1))
    else:
        _show(found)


def _tell(layout: Layout) -> None:
    """On stderr: rehearsing takes seconds to minutes a layout."""
    typer.echo(
        f"rehearsing units {layout.units}, divided: {layout.divided}, blocks: {layout.blocks}",
        err=True,
    )


def _facts(found: Plan) -> dict[str, object]:
    best = found.best
    return {
        "machine": found.machine.model_dump(),
        "ranks": found.ranks,
        "chosen": None if best is None else best.settings,
        "layouts": [row.facts for row in found.rows],
    }


def _show(found: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    counts = sorted({row.structures for row in found.rows})
    batch = (
        f"{counts[0]} structures" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} structures"
    )
    console.print(
        f"{found.ranks} ranks of {found.machine.name}, {batch} a step; "
        "of the busiest rank, in seconds and MB:"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("units", "divided", "blocks"):
        table.add_column(name, no_wrap=True)
    if len(counts) > 1:
        table.add_column("structures", justify="right", no_wrap=True)
    for name in ("s", "waits", "GFLOP", "% peak", "sent", "held", "peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows[:SHOWN]:
        table.add_row(*_cells(row, counted=len(counts) > 1))
    console.print(table)
    if len(found.rows) > SHOWN:
        console.print(f"and {len(found.rows) - SHOWN} slower or larger ones (--json)")
    if not all(row.fits for row in found.rows):
        console.print(f"!: does not fit the {found.machine.memory:g} GB of a device")
    best = found.best
    if best is None:
        console.print(
            f"nothing fits {found.machine.memory:g} GB: take larger units, smaller batches, or a smaller model"
        )
    else:
        settings = " ".join(f"{k}={json.dumps(v)}" for k, v in best.settings.items())
        console.print(f"the fastest that fits: --set {settings}", soft_wrap=True)


def _cells(row: Row, counted: bool) -> list[str]:
    """``counted``: with the number of structures."""
    layout, memory = row.layout, row.memory
    sent = max(sum(r.traffic.bytes.values()) for r in row.rehearsals)
    flops = max(sum(r.flops.values()) for r in row.rehearsals)
    held = memory.parameters + memory.gradients + memory.optimiser + memory.averages
    units = layout.units + ("" if row.fits else " !")
    figures = [
        row.time.total, sum(row.time.waiting.values()), flops / 1e9, 100.0 * row.share_of_peak,
        sent / 1e6, held / 1e6, memory.total / 1e6,
    ]  # fmt: skip
    words = [units, layout.divided, layout.blocks] + [str(row.structures)] * counted
    return [*words, *map(_figure, figures)]


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
