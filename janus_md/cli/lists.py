"""Options that take several values in a row, as in ``--elements Si O``, ``--set a=1 b=2`` and ``--key energy=E``.

The parser below the commands knows only one value per option; here the row is spelled out as
``--elements Si --elements O`` before it parses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from janus_md.settings import split_setting

_SYMBOL = re.compile(r"^([A-Z][a-z]?)([ ,]+[A-Z][a-z]?)*$")
# Anything with '=' before a '/', so that a path is left alone; what is wrong with it is said later.
_SETTING = re.compile(r"^(?!-)[^/]*=")

# Which tokens after the first still belong to the option.
_LISTS: dict[str, Callable[[str], object]] = {
    "--elements": _SYMBOL.match,
    "-e": _SYMBOL.match,
    "--set": _SETTING.match,
    "--key": _SETTING.match,
}


def spell_out(arguments: Sequence[str]) -> list[str]:
    """Repeat the option's name before each of its values; everything after ``--`` is untouched.

    Raises ``UserError`` where ``--set`` is not followed by ``key=value``.
    """
    result: list[str] = []
    position = 0
    while position < len(arguments):
        token = arguments[position]
        if token == "--":
            return result + list(arguments[position:])
        result.append(token)
        position += 1
        belongs = _LISTS.get(token)
        if token == "--set":
            # Without '=' the rest of the row would be taken for something else.
            split_setting(arguments[position] if position < len(arguments) else "")
        if belongs is None or position == len(arguments):
            continue
        result.append(arguments[position])
        position += 1
        while position < len(arguments) and belongs(arguments[position]):
            result += [token, arguments[position]]
            position += 1
    return result
