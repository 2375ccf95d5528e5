"""Arguments and options that several sub-commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Precision(StrEnum):
    """Arithmetic of a deployed model; geometry is float64 in both."""

    single = "single"
    double = "double"


Force = Annotated[bool, typer.Option("--force", help="Replace an existing file.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="key.sub=value, on top of the recipe; may be repeated."),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key", help="Where the files keep a label, e.g. energy=REF_energy; may be repeated."
    ),
]

# Of what writes a model file: export and init.
ModelOutput = Annotated[Path, typer.Option("--output", "-o", help="File to write: *.janus.pt.")]
Elements = Annotated[
    list[str] | None,
    typer.Option("--elements", "-e", help="Elements the file is for, e.g. --elements Si O."),
]
Arithmetic = Annotated[Precision, typer.Option(help="Arithmetic of the exported model.")]

# Of what applies a model to a structure: md and relax.
Structure = Annotated[Path, typer.Argument(help="Any format ASE or pymatgen reads.")]
Model = Annotated[Path, typer.Option("--model", "-m", help="Exported file or checkpoint.")]
Task = Annotated[str | None, typer.Option(help="Task of a multi-task model.")]
Charge = Annotated[
    float | None, typer.Option(help="Total charge, e; in place of the structure's own.")
]
Spin = Annotated[
    float | None, typer.Option(help="Spin multiplicity; in place of the structure's own.")
]
