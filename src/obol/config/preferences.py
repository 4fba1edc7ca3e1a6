"""How a person wants to be talked to, by the environment, so that they need not type it; and their words quoted back.

What is refused is shown to the person, in a terminal or in a log that others read. So `shown` cuts out what may be a
secret before anything is quoted: what stands before an @, and what follows a question mark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from obol.errors import SettingsError

OUTPUT = "OBOL_OUTPUT"
VERBOSE = "OBOL_VERBOSE"
QUIET = "OBOL_QUIET"
NONINTERACTIVE = "OBOL_NONINTERACTIVE"

WORDS = dict.fromkeys(("true", "1", "yes", "y", "on", "t"), True) | dict.fromkeys(
    ("false", "0", "no", "n", "off", "f", ""), False
)
"""What stands for yes and for no."""
ALLOWED = "must be true or false (or 1 or 0, yes or no, on or off)"
_OPENING = re.compile(r"(?:[^=@/?]*=)?https?://")
_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Preferences:
    """The wishes."""

    output: Literal["human", "json"] = "human"
    verbose: bool = False
    quiet: bool = False
    interactive: bool = True
    """Whether questions may be asked."""


def preferences(environ: Mapping[str, str]) -> Preferences:
    """Read the wishes. Raises SettingsError with all words that are not understood."""
    problems: list[str] = []

    def flag(variable: str) -> bool:
        text = environ.get(variable, "")
        if (found := WORDS.get(text.strip().lower())) is None:
            problems.append(f"{variable}={shown(text)}: {ALLOWED}")
        return bool(found)

    output: Literal["human", "json"] = "human"
    match environ.get(OUTPUT, "").strip().lower():
        case "json":
            output = "json"
        case "human" | "":
            pass
        case word:
            problems.append(f"{OUTPUT}={shown(word)}: must be human or json")
    found = Preferences(output, flag(VERBOSE), flag(QUIET), not flag(NONINTERACTIVE))
    if problems:
        raise SettingsError(tuple(problems))
    return found


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
