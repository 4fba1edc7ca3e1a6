"""Names and paths as text that others read: people, terminals, shells, and programs that read JSON.

A path on Linux is bytes. Those that are not UTF-8 are kept in a str as lone surrogates, which nothing else takes; so
they are shown as escapes, like the control characters that a name may have.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from typing import TextIO


def shown(path: object) -> str:
    """A path on one line: bytes that are not UTF-8, and what does not print, as escapes."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
    return text if text.isprintable() else "".join(c if c.isprintable() else escape(c) for c in text)


def in_shell(path: object) -> str:
    """A path as a word of a command line that a person pastes into bash or zsh."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
    if text.isprintable():
        return shlex.quote(text)
    escaped = "".join(f"\\{c}" if c in "\\'" else c if c.isprintable() else escape(c) for c in text)
    return f"$'{escaped}'"


def lenient(streams: Iterable[TextIO]) -> None:
    """Let streams write as escapes what their encoding does not have, rather than fail."""
    for stream in streams:
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")


def escape(character: str) -> str:
    """A character as an escape that bash reads, too."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def json_bytes(value: object) -> bytes:
    """A value as JSON. Text that is not UTF-8 has escapes in it: JSON holds nothing else."""
    import msgspec  # noqa: PLC0415 - help and pass-through have no use for it, and would wait for it

    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_sound(msgspec.to_builtins(value)))


def _sound(value: object) -> object:
    match value:
        case str():
            return "".join(escape(c) if "\ud800" <= c <= "\udfff" else c for c in value)
        case dict():
            return {_sound(key): _sound(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_sound(inner) for inner in value]
        case _:
            return value
