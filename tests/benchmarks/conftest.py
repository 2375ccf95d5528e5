"""Scripts of the benchmarks, which are no packages."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Imports a module from the test's ``SCRIPTS`` folder; its modules are forgotten afterwards."""
    folder: Path = request.module.SCRIPTS
    monkeypatch.syspath_prepend(folder)
    known = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - known:
        if (folder / f"{name}.py").is_file():
            del sys.modules[name]
