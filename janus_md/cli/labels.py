"""What stands after ``--key``: under which names a file keeps its labels."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from janus_md.errors import UserError, nearest

if TYPE_CHECKING:
    from janus_md.io import LabelKeys


def label_keys(pairs: list[str] | None) -> LabelKeys:
    """``["energy=REF_energy", "forces=REF_forces"]`` as what the readers take.

    Raises ``UserError`` for what is not ``label=name``, and for a label that there is not or that is given twice.
    """
    from janus_md.io import LabelKeys

    labels = [field.name for field in fields(LabelKeys)]
    names: dict[str, str] = {}
    for pair in pairs or ():
        label, _, name = pair.partition("=")
        if not label or not name:
            raise UserError(f"--key {pair} is not LABEL=NAME; write for instance energy=REF_energy")
        if label not in labels:
            raise UserError(
                f"--key {pair}: there is no label '{label}'{nearest(label, labels)}; correct it"
            )
        if label in names:
            raise UserError(f"--key names {label} twice; keep one of {names[label]} and {name}")
        names[label] = name
    return LabelKeys(**names)
