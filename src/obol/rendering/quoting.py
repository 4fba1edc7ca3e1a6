"""Text that comes from outside, as a string of the format that it is put into.

A name or path may have any character. Each format has its own escapes, and some characters that it cannot hold at all:
these are refused, because text that says something else than what was meant is worse than none.
"""

from __future__ import annotations

import json
import re

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:=@,+-]+", re.ASCII)
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON leaves as it is, and TOML or YAML wants escaped."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def basic_string(text: str) -> str:
    """A basic string of TOML; it is a string of JSON and of YAML, too. Raises ValueError."""
    # Pairs of surrogates, by which JSON escapes what is beyond 16 bits, are none to TOML.
    quoted = json.dumps(_unicode(text), ensure_ascii=False)
    return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def systemd_word(text: str) -> str:
    """A word in a setting of a unit, other than a command line: systemd.syntax(7). Raises ValueError."""
    if _PLAIN_WORD.fullmatch(text):
        return text
    escaped = systemd_text(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def systemd_argument(text: str) -> str:
    """A word of a command line of a unit, where a dollar sign begins a variable, too. Raises ValueError."""
    return systemd_word(text).replace("$", "$$")


def systemd_text(text: str) -> str:
    """All that follows the equals sign of a setting that takes a path: a percent sign begins a specifier."""
    if _CONTROL.search(_unicode(text)):
        raise ValueError(f"a unit cannot hold the control character in {text!r}")
    return text.replace("%", "%%")


def xml_text(text: str) -> str:
    """Text that XML can hold, unescaped: what writes XML escapes the rest. Raises ValueError."""
    if found := _NOT_IN_XML.search(_unicode(text)):
        raise ValueError(f"XML cannot hold the character {found[0]!r} of {text!r}")
    return text


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise ValueError(f"{text!a} is not UTF-8") from problem
    return text
