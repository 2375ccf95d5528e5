"""Progress of long jobs: a bar with an estimate on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

Advance = Callable[[int, str], None]
_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def steps_of(total: int, label: str) -> Iterator[Advance]:
    """Yields ``advance(count, message)``; ``total`` in the same steps."""
    if sys.stderr.isatty():
        with _bar(total, label) as advance:
            yield advance
    else:
        yield _lines(total, label)


@contextmanager
def _bar(total: int, label: str) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[message]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        job = progress.add_task(label, total=total, message="")

        def advance(count: int, message: str = "") -> None:
            progress.update(job, advance=count, message=message)

        yield advance


def _lines(total: int, label: str) -> Advance:
    start = last = time.monotonic()
    done = 0

    def advance(count: int, message: str = "") -> None:
        nonlocal last, done
        done += count
        now = time.monotonic()
        if now - last < _SECONDS_BETWEEN_LINES and done < total:
            return
        last = now
        left = (now - start) / max(done, 1) * (total - done)
        typer.echo(f"{label}: {done}/{total}, {left:.0f} s left  {message}", err=True)

    return advance
