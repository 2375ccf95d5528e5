"""The command `janus-md`: assembles the sub-commands and turns user errors into one sentence.

No module imported here may import torch: ``janus-md --help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import janus_md
from janus_md.cli import (
    data,
    eval,
    export,
    info,
    init,
    lammps,
    md,
    plan,
    quickstart,
    relax,
    train,
    usage,
)
from janus_md.cli.lists import spell_out
from janus_md.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

app = typer.Typer(
    name="janus-md",
    help="Universal interatomic potentials: train, evaluate, export, run in LAMMPS and ASE.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"janus-md {janus_md.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


# The order of the help page: the order in which one meets them.
for _module in (quickstart, data, plan, train, eval, export, info, init, relax, md):
    _module.register(app)
app.add_typer(lammps.app, name="lammps")


def main() -> None:
    """Entry point: a user's mistake ends with one sentence on stderr and exit code 2."""
    try:
        code = app(args=spell_out(sys.argv[1:]), prog_name="janus-md", standalone_mode=False)
        if code == EXIT_INTERRUPTED:
            typer.echo("janus-md: interrupted; what was written until then is there", err=True)
        sys.exit(code)
    except UserError as error:
        if not error.repeated:
            typer.echo(f"janus-md: {error}", err=True)
    except usage.UsageError as error:
        if usage.is_bare(error):
            error.show()
        else:
            typer.echo(f"janus-md: {usage.sentence(error)}", err=True)
    sys.exit(EXIT_USER_ERROR)


if __name__ == "__main__":
    main()
