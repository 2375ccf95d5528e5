"""The one exception for what a user can put right.

A ``UserError`` carries one sentence that names the file, key or element at fault and says what to
do. The command line prints it and exits with code 2; any other exception is a bug.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """One sentence: what is wrong, where, and what to do about it."""

    repeated = False
    """Whether another process that works with this one says the same."""


def nearest(name: str, choices: Iterable[str], within: str = "") -> str:
    """The hint that ends a sentence about an unknown name.

    Returns `` (did you mean 'cutoff'?)`` where a choice is close to ``name``; otherwise
    `` (known: a, b, c)``, or nothing when there are no choices or more than twelve. ``within`` is what comes before
    the choices where they stand.
    """
    known = sorted(set(choices))
    lowered = {choice.lower(): choice for choice in known}
    close = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{within}{lowered[close[0]]}'?)"
    if known and len(known) <= 12:
        return f" (known: {', '.join(known)})"
    return ""
