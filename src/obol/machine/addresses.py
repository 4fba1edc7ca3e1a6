"""IP addresses of this machine."""

from __future__ import annotations

import socket
from ipaddress import ip_address


def is_ours(address: str) -> bool:
    """Whether a server on this machine could listen on `address` right now."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # EADDRNOTAVAIL, or a family that this machine does not have
            return False
        return True


def bracketed(address: str) -> str:
    """The address as URLs have it: one of IPv6 is between brackets there."""
    return f"[{address}]" if ":" in address else address
