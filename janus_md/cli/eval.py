"""`janus-md eval`: errors of a model on labelled files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from janus_md.cli.labels import label_keys
from janus_md.cli.options import Device, Force, Keys
from janus_md.cli.outputs import refuse_existing
from janus_md.errors import UserError

COLUMNS = {
    "energy_mae": "E MAE", "energy_rmse": "E RMSE",
    "force_mae": "F MAE", "force_rmse": "F RMSE",
    "stress_mae": "S MAE", "stress_rmse": "S RMSE",
    "magmom_mae": "M MAE", "magmom_rmse": "M RMSE",
}  # fmt: skip


def register(app: typer.Typer) -> None:
    app.command(name="eval", help="Errors of a model on labelled files.")(evaluate)


def evaluate(
    model: Annotated[Path, typer.Argument(help="Exported file, checkpoint or folder of a run.")],
    data: Annotated[list[Path], typer.Argument(help="Files or folders with labels.")],
    task: Annotated[str | None, typer.Option(help="Task of the frames.")] = None,
    keys: Keys = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write the numbers to this file.")
    ] = None,
    force: Force = False,
    device: Device = "auto",
) -> None:
    """MAE and RMSE of energy, forces, stress and magnetic moments (meV/atom, meV/Å, meV/Å³, mμ_B) per file and task."""
    if output is not None:
        refuse_existing(output, force)
    names = label_keys(keys)
    try:
        from janus_training.evaluate import evaluate_files
    except ImportError as fault:
        raise UserError(
            f"evaluation needs packages that are not installed ({fault}); "
            "run pip install 'janus-md[train]'"
        ) from None
    rows = evaluate_files(model, data, task, device, keys=names)
    for line in table(rows):
        typer.echo(line)
    if output is not None:
        output.write_text(json.dumps(rows, indent=2) + "\n")


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of plain text: one row per file and task, a dash where there is no label."""
    cells = [["file", "task", "frames", *COLUMNS.values()]]
    for row in rows:
        numbers = ["-" if row[name] is None else f"{row[name]:.4g}" for name in COLUMNS]
        cells.append([row["file"], row["task"], str(row["frames"]), *numbers])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    units = "energy in meV/atom, forces in meV/Å, stress in meV/Å³, magnetic moments in mμ_B"
    return [*lines, units]
