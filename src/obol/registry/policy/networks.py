"""Which addresses are of the public internet: a table of our own.

The interpreter's `is_global` changes from version to version and knows nothing of the clouds. The rows are those of
IANA's registries of special-purpose addresses (RFC 6890 and what updates it), and what the clouds have put among the
public ones. A row refuses, also where IANA calls a few addresses of it reachable: no registry lives there. Of IPv6 only
2000::/3 is in use as public, so what lies elsewhere needs no row, but for addresses that carry one of IPv4.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

IPv4 = ipaddress.IPv4Address
IPv6 = ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class SpecialNetwork:
    """A network that is not public, and why."""

    network: str
    why: str


NOT_PUBLIC = (
    SpecialNetwork("0.0.0.0/8", "this network, RFC 791"),
    SpecialNetwork("10.0.0.0/8", "private use, RFC 1918"),
    SpecialNetwork("100.64.0.0/10", "shared address space, RFC 6598; metadata of Alibaba Cloud (100.100.100.200)"),
    SpecialNetwork("127.0.0.0/8", "loopback, RFC 1122"),
    SpecialNetwork("168.63.129.16/32", "the wire server of Azure"),
    SpecialNetwork("169.254.0.0/16", "link-local, RFC 3927; metadata of most clouds (169.254.169.254)"),
    SpecialNetwork("172.16.0.0/12", "private use, RFC 1918"),
    SpecialNetwork("192.0.0.0/24", "protocol assignments, RFC 6890; metadata of Oracle Cloud (192.0.0.192)"),
    SpecialNetwork("192.0.2.0/24", "documentation, RFC 5737"),
    SpecialNetwork("192.88.99.0/24", "6to4 relays, withdrawn by RFC 7526"),
    SpecialNetwork("192.168.0.0/16", "private use, RFC 1918"),
    SpecialNetwork("198.18.0.0/15", "benchmarking, RFC 2544"),
    SpecialNetwork("198.51.100.0/24", "documentation, RFC 5737"),
    SpecialNetwork("203.0.113.0/24", "documentation, RFC 5737"),
    SpecialNetwork("224.0.0.0/4", "multicast, RFC 1112"),
    SpecialNetwork("240.0.0.0/4", "reserved, RFC 1112; broadcast, RFC 8190"),
    SpecialNetwork(
        "2001::/23", "protocol assignments, RFC 2928; Teredo, RFC 4380; benchmarking, RFC 5180; ORCHID, RFC 7343"
    ),
    SpecialNetwork("2001:db8::/32", "documentation, RFC 3849"),
    SpecialNetwork("3fff::/20", "documentation, RFC 9637"),
)
PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")
"""Global unicast (RFC 4291). The rest is loopback, local, multicast, discarded, segment routing or not given out."""

FAKE = ipaddress.IPv4Network("198.18.0.0/15")
"""What proxies that work by a network interface (Clash, Surge, sing-box) answer for every name: they know the real
address, and nothing else is there."""

_NETWORKS_4 = tuple(ipaddress.IPv4Network(row.network) for row in NOT_PUBLIC if ":" not in row.network)
_NETWORKS_6 = tuple(ipaddress.IPv6Network(row.network) for row in NOT_PUBLIC if ":" in row.network)

_LOW_32 = 0xFFFF_FFFF
_CARRIERS = (
    ("::ffff:0:0/96", 0, "mapped, RFC 4291"),
    ("::ffff:0:0:0/96", 0, "translated, RFC 2765"),
    ("64:ff9b::/96", 0, "NAT64, RFC 6052"),
    ("2002::/16", 80, "6to4, RFC 3056"),
)
_CARRYING = tuple((ipaddress.IPv6Network(network), shift) for network, shift, _ in _CARRIERS)
_ISATAP = 0x5EFE
"""The upper half of an interface identifier by RFC 5214, but for two bits that may be set."""
_ISATAP_BITS = 0xFCFF_FFFF


def is_public(address: str) -> bool:
    """Whether an address of IPv4 or IPv6 is one of the public internet; text that is no address is not."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return _public_4(parsed) if isinstance(parsed, IPv4) else _public_6(parsed)


def is_fake(address: str) -> bool:
    """Whether an address stands for a name, as those proxies give them."""
    try:
        return IPv4(address) in FAKE
    except ValueError:
        return False


def _public_4(address: IPv4) -> bool:
    return not any(address in network for network in _NETWORKS_4)


def _public_6(address: IPv6) -> bool:
    carried = _carried(address)
    if carried is not None:
        return _public_4(carried)
    return address in PUBLIC_IPV6 and not any(address in network for network in _NETWORKS_6)


def _carried(address: IPv6) -> IPv4 | None:
    """The address of IPv4 that a packet to this one would reach."""
    number = int(address)
    for network, shift in _CARRYING:
        if address in network:
            return IPv4(number >> shift & _LOW_32)
    # ISATAP is of any prefix, so the prefix must be public as well.
    if number >> 32 & _ISATAP_BITS == _ISATAP and address in PUBLIC_IPV6:
        return IPv4(number & _LOW_32)
    return None
