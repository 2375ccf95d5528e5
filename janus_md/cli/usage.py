"""A command line that cannot be parsed, in one sentence like every other mistake."""

from __future__ import annotations

import re
from typing import Any

import typer

# Typer carries a copy of click or uses click itself, by version; this class is public in both.
UsageError: Any = typer.BadParameter.__base__


def is_bare(error: Any) -> bool:
    """Whether a group was called without a command: its help is shown instead."""
    return type(error).__name__ == "NoArgsIsHelpError"


def sentence(error: Any) -> str:
    """What the parser found wrong, and which help page says how it is right."""
    words = " ".join(error.format_message().split()).rstrip(".")
    words = words.replace(": Value error, ", ": ")
    words = re.sub(r"\. Did you mean (.+)\?$", r" (did you mean \1?)", words)
    command = error.ctx.command_path if error.ctx else "janus-md"
    advice = f"see '{command} --help'"
    if command.endswith("lammps run"):
        advice = f"LAMMPS's own arguments come after --, as in '{command} -n 2 -- -in in.file'"
    return f"{words[:1].lower()}{words[1:]}; {advice}"
