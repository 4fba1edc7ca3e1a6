import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.registry.policy.networks import FAKE, NOT_PUBLIC, PUBLIC_IPV6, SpecialNetwork, is_fake, is_public


@pytest.mark.parametrize("row", NOT_PUBLIC, ids=lambda row: row.network)
def test_each_row(row: SpecialNetwork) -> None:
    """The first, the last and a middle address of a network are not public; the row says why."""
    network = ipaddress.ip_network(row.network)

    assert row.why
    for address in (network[0], network[network.num_addresses // 2], network[-1]):
        assert not is_public(str(address))


@pytest.mark.parametrize("row", [row for row in NOT_PUBLIC if ":" not in row.network], ids=lambda row: row.network)
@pytest.mark.parametrize(
    "prefix",
    ["::ffff:", "::ffff:0:", "64:ff9b::", "64:ff9b:1::", "::", "2a00:1:2:3::5efe:", "2a00:1:2:3:200:5efe:"],
)
def test_each_row_inside_an_address_of_ipv6(row: SpecialNetwork, prefix: str) -> None:
    """An address of IPv6 that carries one of IPv4 is no more public than that."""
    assert not is_public(prefix + str(ipaddress.ip_network(row.network)[-1]))


@pytest.mark.parametrize("row", [row for row in NOT_PUBLIC if ":" not in row.network], ids=lambda row: row.network)
def test_each_row_by_6to4(row: SpecialNetwork) -> None:
    """6to4 carries its address of IPv4 in front."""
    carried = int(ipaddress.IPv4Address(str(ipaddress.ip_network(row.network)[-1])))

    assert not is_public(f"2002:{carried >> 16:x}:{carried & 0xFFFF:x}::1")


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.170.2",
        "168.63.129.16",
        "192.0.0.192",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:42::42",
        "::1",
        "::",
        "::7f00:1",
        "100::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "ff02::1",
        "5f00::1",
        "4000::1",
        "2001:0:5ef5:79fb::1",
        "2001:2::1",
        "2001:20::1",
        "fd00::5efe:808:808",
        "",
        "localhost",
        "127.1",
        "0x7f000001",
        "2130706433",
    ],
)
def test_what_is_not_public(address: str) -> None:
    """Metadata of the clouds, what is local by any registry, unused space, and what is no address."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "168.63.129.15",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2a00::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2a00:1:2:3::5efe:808:808",
    ],
)
def test_what_is_public(address: str) -> None:
    """Neighbours of the rows are public, and what carries a public address."""
    assert is_public(address)


@given(st.ip_addresses(v=6))
def test_only_global_unicast_is_public(address: ipaddress.IPv6Address) -> None:
    """Of IPv6 nothing outside 2000::/3 is public, unless it carries an address of IPv4."""
    carrying = any(address in ipaddress.ip_network(network) for network in ("::/64", "64:ff9b::/96"))

    assert not is_public(str(address)) or address in PUBLIC_IPV6 or carrying


@given(st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Whatever the text, there is an answer."""
    assert is_public(text) in {True, False}
    assert is_fake(text) in {True, False}


def test_fake_addresses() -> None:
    """What proxies give in place of a name's address is known as such, and is not public."""
    assert is_fake("198.18.0.56")
    assert is_fake(str(FAKE[-1]))
    assert not is_fake("198.20.0.0")
    assert not is_fake("::ffff:198.18.0.56")
