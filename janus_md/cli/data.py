"""`janus-md data`: convert, inspect, split and describe files of structures with labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus_md.cli.labels import label_keys
from janus_md.cli.options import Keys
from janus_md.errors import UserError

if TYPE_CHECKING:
    from janus_md.io import Frame
    from janus_md.io.summary import Statistics, Summary

data = typer.Typer(help="Convert, inspect, split and describe data files.", no_args_is_help=True)

Sources = Annotated[
    list[Path], typer.Argument(help="extxyz, any ASE format, ASE database, DeePMD folder.")
]


def register(app: typer.Typer) -> None:
    app.add_typer(data, name="data")


@data.command()
def convert(
    sources: Sources,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=".extxyz, .db, .aselmdb, or no suffix: DeePMD folder."),
    ],
    keys: Keys = None,
) -> None:
    """Write all frames of SOURCES to one file in another format."""
    names = label_keys(keys)
    from janus_md.io import read_frames, write_frames

    frames = [frame for source in sources for frame in read_frames(source, keys=names)]
    write_frames(output, frames)
    typer.echo(f"{output}: {len(frames)} frames")


@data.command()
def inspect(sources: Sources, keys: Keys = None) -> None:
    """Say what each file holds: frames, atoms, elements, labels."""
    from janus_md.io.summary import summarise

    _describe(sources, keys, summarise)


@data.command()
def statistics(sources: Sources, keys: Keys = None) -> None:
    """Mean, spread and extremes of the labels of each file (eV/atom, eV/Å, eV/Å³)."""
    from janus_md.io.summary import statistics

    _describe(sources, keys, statistics)


def _describe(
    sources: list[Path],
    keys: list[str] | None,
    facts: Callable[[list[Frame]], Summary | Statistics],
) -> None:
    names = label_keys(keys)
    from janus_md.io import read_frames
    from janus_md.io.summary import as_lines

    for source in sources:
        typer.echo(f"{source}")
        for line in as_lines(facts(read_frames(source, keys=names))):
            typer.echo(f"  {line}")


@data.command()
def split(
    source: Annotated[Path, typer.Argument(help="File or folder to split.")],
    outputs: Annotated[
        list[Path], typer.Option("--output", "-o", help="Files to write, one per part.")
    ],
    shares: Annotated[
        list[float], typer.Option("--share", "-s", help="Share of each part; they add up to 1.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Decides which frame goes where.")] = 0,
    keys: Keys = None,
) -> None:
    """Split the frames of SOURCE at random, e.g. -o train.extxyz -s 0.9 -o valid.extxyz -s 0.1."""
    names = label_keys(keys)
    from janus_md.io import read_frames, write_frames
    from janus_md.io.split import split_shares

    if len(outputs) != len(shares):
        raise UserError(
            f"{len(outputs)} outputs and {len(shares)} shares: give one --share for each --output"
        )
    for output in outputs:
        if output.exists():
            raise UserError(f"{output} exists already; choose another name or remove it")
    frames = read_frames(source, keys=names)
    for output, part in zip(outputs, split_shares(len(frames), shares, seed), strict=True):
        write_frames(output, [frames[index] for index in part])
        typer.echo(f"{output}: {len(part)} frames")
