"""Names of registries: many spellings, one key.

The name is a key into what is configured, never a target to dial, so it is held to the plain grammar of an authority:
a host and perhaps a port. Docker Hub has three hosts and a hidden `library/` prefix; both are folded here.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from obol.oci.errors import TARGET_INVALID, OciError

if TYPE_CHECKING:
    from obol.oci.references import Repository

DOCKER_HUB = "docker.io"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_AUTHORITY = re.compile(
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*)\.?(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    r"|\[(?P<address>[0-9a-f:.]{2,45})\](?::(?P<port6>[1-9][0-9]{0,4}))?"
)
_MAX_HOST = 253
_MAX_AUTHORITY = 260
_DEFAULT_PORTS = frozenset({"80", "443"})
_ALIASES = {"index.docker.io": DOCKER_HUB, "registry-1.docker.io": DOCKER_HUB}


def normalise_registry(text: str) -> str:
    """The one spelling of `host[:port]`: lower case, no final dot, no default port, Docker Hub's aliases folded.

    An IPv6 address is written in brackets. Raises OciError (TARGET_INVALID) for all else: a scheme, userinfo, a path,
    an escape, blanks, control characters.
    """
    # Only ASCII is lowered: some other letters become ASCII ones when lowered (the Kelvin sign a `k`).
    if len(text) > _MAX_AUTHORITY or not text.isascii():
        raise OciError(TARGET_INVALID, f"not a registry: {text}")
    match = _AUTHORITY.fullmatch(text.lower())
    if match is None:
        raise OciError(TARGET_INVALID, f"not a registry: {text}")
    host = match["host"] or _bracketed(match["address"])
    port = match["port"] or match["port6"]
    if len(host) > _MAX_HOST or (port is not None and int(port) > 65535):
        raise OciError(TARGET_INVALID, f"not a registry: {text}")
    if port is None or port in _DEFAULT_PORTS:
        return _ALIASES.get(host, host)
    return f"{host}:{port}"


def _bracketed(address: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(address).compressed}]"
    except ValueError:
        raise OciError(TARGET_INVALID, f"not an IPv6 address: {address}") from None


def canonical_repository(registry: str, repository: Repository) -> Repository:
    """On Docker Hub a name of one component belongs to `library/`.

    `registry` is normalised. Raises OciError (NAME_INVALID) for a name that is too long with the prefix.
    """
    if registry == DOCKER_HUB and "/" not in repository:
        return type(repository).parse(f"library/{repository}")
    return repository
