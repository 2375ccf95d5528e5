"""Commands run inside the test, where starting a process for each would take seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from janus_md.cli.main import main


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command, run in this process."""
    before = sys.argv
    sys.argv = ["janus-md", *map(str, arguments)]
    try:
        main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one sentence on stderr of a command that must end with code 2."""
    code, _, error = call(capsys, *arguments)
    assert code == 2, error
    assert error.startswith("janus-md: ")
    assert error.count("\n") == 1, error
    return error
