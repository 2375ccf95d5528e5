"""Functions that tests run on several ranks at once."""

from parallel_support.ranks import on_ranks

__all__ = ["on_ranks"]
