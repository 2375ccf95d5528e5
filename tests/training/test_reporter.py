"""What a run says while it goes on."""

from __future__ import annotations

import io
import sys

import pytest

from janus_training.metrics import Reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_brackets_in_names_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich would leave out a task's [u] and raise for a path's [/tmp]."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Reporter(every=1) as reporter:
        reporter.say("valid pbe[u]: run[/tmp]/x")
        reporter.step(1, 0.5, 1.0, "loss of [/b]")
    shown = terminal.getvalue()
    assert "valid pbe[u]: run[/tmp]/x" in shown
    assert "loss of [/b]" in shown
