"""Names in a file that are probably labels, of frames that have no such label: nobody has said that they are."""

from __future__ import annotations

from janus_md.io.frames import Frame

WORDS = {
    "energy": "energy",
    "force": "forces",
    "stress": "stress",
    "virial": "virial",
    "magmom": "magmoms",
}
"""Part of a name → the label that it may be."""


def unread_labels(frame: Frame) -> dict[str, str]:
    """Label → name in ``atoms.info`` or ``atoms.arrays``, of labels that ``frame`` does not have."""
    found: dict[str, str] = {}
    for name in (*frame.atoms.arrays, *frame.atoms.info):
        for word, label in WORDS.items():
            missing = getattr(frame, "stress" if label == "virial" else label) is None
            if missing and word in name.lower() and not name.startswith("initial_"):
                found.setdefault(label, name)
    return found


def as_keys(found: dict[str, str]) -> str:
    """What to give on a command line for them to be read."""
    return "--key " + " ".join(f"{label}={name}" for label, name in found.items())
