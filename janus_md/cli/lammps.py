"""`janus-md lammps`: build the plugin, show its environment, start LAMMPS."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Build the LAMMPS plugin and run LAMMPS with it.", no_args_is_help=True)


@app.command()
def build(
    force: Annotated[bool, typer.Option("--force", help="Build even if it is there.")] = False,
    headers: Annotated[
        Path | None,
        typer.Option(help="For a LAMMPS of your own: its src folder (needs --mpi-include, -o)."),
    ] = None,
    mpi_include: Annotated[
        Path | None, typer.Option(help="Folder of the mpi.h that LAMMPS was built with.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write: *plugin.so.")
    ] = None,
    bigbig: Annotated[
        bool, typer.Option("--bigbig", help="LAMMPS was built with -DLAMMPS_BIGBIG.")
    ] = False,
) -> None:
    """Build the plugin for the installed torch and LAMMPS (kept until either changes)."""
    from janus_md.errors import UserError
    from janus_md.lammps import build_custom, build_plugin

    if headers is None and (mpi_include or output or bigbig):
        raise UserError(
            "--mpi-include, --output and --bigbig are for a LAMMPS of your own: give --headers as well"
        )
    if headers is None:
        typer.echo(build_plugin(force=force, report=typer.echo))
        return
    if mpi_include is None or output is None:
        raise UserError("--headers needs --mpi-include and --output as well")
    typer.echo(build_custom(headers, mpi_include, output, bigbig=bigbig))


@app.command()
def env() -> None:
    """Print what to export for starting LAMMPS without `janus-md lammps run`."""
    from janus_md.lammps import environment

    for name, value in environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def run(
    arguments: Annotated[
        list[str], typer.Argument(help="LAMMPS's own arguments, after --: -- -in in.file")
    ],
    ranks: Annotated[int, typer.Option("-n", "--ranks", help="MPI ranks.")] = 1,
) -> None:
    """Run LAMMPS on MPI ranks with the plugin: janus-md lammps run -n 2 -- -in in.file."""
    from janus_md.errors import UserError
    from janus_md.lammps import run as run_lammps

    for flag, value in pairwise(arguments):
        if flag in ("-in", "-i") and not Path(value).is_file():
            raise UserError(f"{value} does not exist: give the name of an input file after {flag}")
    code = run_lammps(arguments, ranks).returncode
    # LAMMPS ends with 1 after saying what is wrong with its input; here that is 2. A crash keeps its code.
    raise typer.Exit(2 if code == 1 else code)
