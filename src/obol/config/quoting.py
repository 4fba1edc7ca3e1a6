"""What people wrote, quoted back to them.

Whatever is refused is shown to the person, in a terminal or in a log that others read. So `shown` cuts out what may be
a secret before anything is quoted: what stands before an @, and what follows a question mark.
"""

from __future__ import annotations

import re

_OPENING = re.compile(r"(?:[^=@/?]*=)?https?://")
_SHOWN = 100


def shown(value: object) -> str:
    """Quote a refused value on one line, cut to a bearable length, without anything that may be a secret."""
    match value:
        case dict():
            text = "{…}"
        case bool():
            text = str(value).lower()
        case _:
            text = str(value)
    before, at, after = text.rpartition("@")
    if at:
        opening = _OPENING.match(before)
        text = f"{opening[0] if opening else ''}***@{after}"
    open_part, question, _ = text.partition("?")
    text = f"{open_part}?***" if question else open_part
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return printable if len(printable) <= _SHOWN else printable[:_SHOWN] + "…"
