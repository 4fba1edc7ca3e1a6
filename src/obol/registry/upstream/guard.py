"""Which addresses a connection may go to.

A registry that we were told to use may be anywhere. What *it* names (redirects, token realms) may not be the machine
itself, its network or a cloud's metadata service: checked on the address that is being connected to, so that neither a
DNS name nor a second look-up gets around it.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class ForbiddenAddress(OSError):
    """A connection to an address that the upstream had no business naming."""


def is_public(address: str) -> bool:
    """Whether an IPv4 or IPv6 address is one of the public internet; text that is no address is not."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = _embedded(parsed)
        if embedded is not None:
            parsed = embedded
        elif parsed.is_site_local:
            # Deprecated (RFC 3879), and global to the standard library, but some networks route it inside.
            return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def public_socket(info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
    """Make the socket for one resolved address (aiohttp's `socket_factory`), or raise ForbiddenAddress."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0])):
        # One text for all: of several addresses aiohttp keeps the error only where the texts agree.
        raise ForbiddenAddress("not a public address")
    return socket.socket(family, kind, protocol)
