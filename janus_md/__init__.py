"""Janus-MD: universal interatomic potentials with element-routed experts.

Importing this package loads neither torch nor ASE: the names below are fetched when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from janus_md.lazy import lazy

__version__ = "0.1.0"

if TYPE_CHECKING:
    from janus_md.calculators.ase import JanusCalculator

__all__ = ["JanusCalculator", "__version__"]

__getattr__ = lazy(__name__, {"JanusCalculator": "janus_md.calculators.ase"})
