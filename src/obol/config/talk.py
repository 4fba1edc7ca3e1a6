"""How somebody wants to be talked to, by the environment: what they always want, so that they need not type it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from obol.config.quoting import shown
from obol.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

OUTPUT = "OBOL_OUTPUT"
VERBOSE = "OBOL_VERBOSE"
QUIET = "OBOL_QUIET"
NONINTERACTIVE = "OBOL_NONINTERACTIVE"

WORDS = dict.fromkeys(("true", "1", "yes", "y", "on", "t"), True) | dict.fromkeys(
    ("false", "0", "no", "n", "off", "f", ""), False
)
"""What stands for yes and for no."""
ALLOWED = "must be true or false (or 1 or 0, yes or no, on or off)"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The wishes."""

    output: Literal["human", "json"] = "human"
    verbose: bool = False
    quiet: bool = False
    interactive: bool = True
    """Whether questions may be asked."""


def talk(environ: Mapping[str, str]) -> Preferences:
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
