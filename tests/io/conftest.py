"""Labelled crystals to write and read."""

import pytest
from ase.build import bulk
from io_support import labelled

from janus_md.io import Frame


@pytest.fixture
def crystals() -> list[Frame]:
    return [labelled(bulk("NaCl", "rocksalt", a=5.6 + 0.1 * seed), seed) for seed in range(3)]
