"""Which addresses a connection may go to.

A registry that we were told to use may be anywhere. What *it* names (redirects, token realms) may not be the machine
itself, its network or a cloud's metadata service: the address that is being connected to is checked, so that neither a
DNS name nor a second look-up gets around it. Every refusal names the setting that lets the host pass.
"""

from __future__ import annotations

import socket
from typing import Any

from obol.registry.policy.networks import is_fake, is_public

__all__ = ["ForbiddenAddress", "forbidden", "is_public", "public_socket"]

LONGEST_NAME = 253


class ForbiddenAddress(OSError):
    """A connection to an address that the upstream had no business naming."""


def forbidden(host: str) -> str:
    """What is wrong with a host that the upstream names and that is not public, and the way out."""
    name = host[:LONGEST_NAME]
    return (
        f"the upstream names {name}, whose address is not public: it is not asked. If that host is to be trusted, start"
        f" the cache with --allow-host {name} (or OBOL_CACHE_ALLOW_HOST={name})"
    )


def public_socket(info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
    """Make the socket for one resolved address (aiohttp's `socket_factory`), or raise ForbiddenAddress.

    An address in the URL itself was looked at before. So one that only proxies give, in place of a name's, is a name's.
    """
    family, kind, protocol, _, address = info
    if not (is_public(str(address[0])) or is_fake(str(address[0]))):
        # One text for all: of several addresses aiohttp keeps the error only where the texts agree.
        raise ForbiddenAddress("not a public address")
    return socket.socket(family, kind, protocol)
