"""Janus-MD: universal interatomic potentials with element-routed experts.

Importing this package loads neither torch nor ASE: the names below are fetched when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from janus_md.calculators.ase import JanusCalculator

__all__ = ["JanusCalculator", "__version__"]

_LAZY = {"JanusCalculator": "janus_md.calculators.ase"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'janus_md' has no attribute {name!r}")
