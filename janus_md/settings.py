"""What stands after ``--set``."""

from __future__ import annotations

from janus_md.errors import UserError

FORM = "write --set key.sub=value"


def split_setting(setting: str) -> tuple[str, str]:
    """Key and value of ``key.sub=value``; raises ``UserError`` for anything of another form."""
    key, separator, text = setting.partition("=")
    if not separator:
        raise UserError(f"{f'--set {setting}'.rstrip()} has no '='; {FORM}")
    if not key:
        raise UserError(f"--set {setting} has no key before '='; {FORM}")
    if not all(part.strip() for part in key.split(".")):
        raise UserError(f"--set {setting}: '{key}' has an empty name beside a '.'; {FORM}")
    return key, text
