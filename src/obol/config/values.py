"""Single values as people write them: parsed, or refused with what is allowed.

What is refused is shown to the person: see `config.preferences`.
"""

from __future__ import annotations

import math
import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from obol.oci.errors import OciError
from obol.oci.references import normalise_registry

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(s|m|h|d)?", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15})(KiB|MiB|GiB)?")
_BYTES = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)


class BadValueError(ValueError):
    """A value that we cannot use; the text says what is allowed, to follow "must be"."""


def registry(text: object) -> str:
    """Read the name of a registry: host[:port]; raises BadValueError."""
    try:
        return normalise_registry(text) if isinstance(text, str) else _refuse_registry()
    except OciError:
        return _refuse_registry()


def _refuse_registry() -> str:
    raise BadValueError("the name of a registry as in an image reference: host or host:port, such as ghcr.io")


def origin(text: object) -> str:
    """Read where a server is: http(s)://host[:port], without a final slash; raises BadValueError.

    Credentials do not belong in a URL: they end up in process lists, logs and settings files that are shared.
    """
    if not isinstance(text, str) or any(character <= " " or character > "~" for character in text):
        raise BadValueError("an address such as https://mirror.example:5000")
    if "@" in text:
        raise BadValueError("an address without a user name and password")
    try:
        parts = urlsplit(text)
        normalise_registry(parts.netloc)
    except (ValueError, OciError):
        raise BadValueError("an address such as https://mirror.example:5000") from None
    if parts.scheme not in {"http", "https"}:
        raise BadValueError("an address that begins with http:// or https://")
    if parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise BadValueError("an address that ends with the host and port: no path and no query")
    return f"{parts.scheme}://{parts.netloc.lower()}"


def port(value: object) -> int:
    """Read a TCP port; 0 leaves the choice to the system. Raises BadValueError."""
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}", value) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 65535:
        raise BadValueError("a port from 0 to 65535 (0: any free one)")
    return number


def address(text: object) -> str:
    """Read an IP address to listen on; raises BadValueError."""
    try:
        return str(ip_address(text)) if isinstance(text, str) else _refuse_address()
    except ValueError:
        return _refuse_address()


def _refuse_address() -> str:
    raise BadValueError("an IP address, such as 127.0.0.1 (0.0.0.0 or :: for every address of this machine)")


def host(text: object) -> str:
    """Read a host name or an IP address, without a port; raises BadValueError."""
    if isinstance(text, str):
        try:
            return str(ip_address(text.removeprefix("[").removesuffix("]")))
        except ValueError:
            name = text.lower().removesuffix(".")
            if len(name) <= 253 and _HOST.fullmatch(name):
                return name
    raise BadValueError("a host name or an IP address, without a port")


def seconds(value: object) -> float:
    """Read a duration: a number of seconds, or one with a unit (60s, 5m, 2h, 1d); raises BadValueError."""
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _UNITS[found[2] or "s"]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    raise BadValueError("a number of seconds, 0 or more, or one with a unit, such as 90s, 5m or 1h")


def size(value: object) -> int:
    """Read an amount of memory: a number of bytes, or one with a unit (64MiB, 1GiB); raises BadValueError."""
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        return int(found[1]) * _BYTES[found[2] or ""]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise BadValueError("a number of bytes, or one with a unit, such as 64MiB or 1GiB")


def directory(text: object) -> str:
    """Read the path of a directory, still as written; raises BadValueError."""
    if not isinstance(text, str) or not text or "\0" in text:
        raise BadValueError("the path of a directory")
    return text
