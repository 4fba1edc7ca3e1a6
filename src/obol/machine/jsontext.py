"""JSON that everybody can read, whatever the bytes of a path in it are."""

from __future__ import annotations

import msgspec

from obol.machine.texts import escape


def json_bytes(value: object) -> bytes:
    """A value as JSON. Text that is not UTF-8 has escapes in it: JSON holds nothing else."""
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
