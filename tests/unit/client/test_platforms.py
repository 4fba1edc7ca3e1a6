from __future__ import annotations

import contextlib
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.client.platforms import choose, parse_platform, this_machine
from obol.errors import UsageError
from obol.oci.manifests import Descriptor, Platform
from obol.oci.references import Digest


def child(text: str | None) -> Descriptor:
    """An entry of an index; without text, one that does not say its platform."""
    named = None if text is None else Platform(*text.split("/"))
    return Descriptor("", Digest.of((text or "?").encode()), 1, named)


def chosen(wanted: str, *offers: str | None) -> str | None:
    """What is chosen for a platform, as text; "?" for the one without."""
    found = choose([child(text) for text in offers], parse_platform(wanted))
    return None if found is None else str(found.platform or "?")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        (" Linux/ARM64 ", Platform("linux", "arm64")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("windows/amd64", Platform("windows", "amd64")),
    ],
)
def test_parse(text: str, meant: Platform) -> None:
    """A platform is os/architecture[/variant]; what uname calls an architecture is understood too."""
    assert parse_platform(text) == meant


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "linux/amd64/v1/x", "linux amd64", "linux/amd64\n/x"]
)
def test_no_platform(text: str) -> None:
    """All else is wrong usage, told with an example."""
    with pytest.raises(UsageError, match="is not a platform") as caught:
        parse_platform(text)

    assert "linux/amd64" in caught.value.hint


@given(st.text())
def test_parse_raises_only_ours(text: str) -> None:
    """Whatever is given, it is a platform or our own error."""
    with contextlib.suppress(UsageError):
        assert "/" in str(parse_platform(text))


@pytest.mark.parametrize(
    ("machine", "meant"),
    [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("arm64", "linux/arm64"), ("AMD64", "linux/amd64")],
)
def test_this_machine(machine: str, meant: str) -> None:
    """Containers run on Linux, also where the machine is a Mac."""
    assert str(this_machine(machine)) == meant


def test_this_very_machine() -> None:
    """Unless told otherwise, it is the machine that we run on."""
    assert this_machine() == this_machine(platform.machine())


@pytest.mark.parametrize(
    ("wanted", "offers", "found"),
    [
        ("linux/amd64", ("linux/arm64", "linux/amd64"), "linux/amd64"),
        ("linux/amd64", ("linux/arm64", "windows/amd64"), None),
        ("linux/arm64", ("linux/arm64/v8",), "linux/arm64/v8"),
        ("linux/arm64/v8", ("linux/arm64",), "linux/arm64"),
        ("linux/arm", ("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7"),
        ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6"), "linux/arm/v6"),
        ("linux/arm/v6", ("linux/arm/v7",), None),
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v2"), "linux/amd64/v2"),
        ("linux/amd64", ("linux/amd64/v2",), None),
        ("linux/s390x", ("linux/s390x",), "linux/s390x"),
        ("linux/ppc64le/power9", ("linux/ppc64le/power8",), None),
        ("linux/amd64", (), None),
    ],
)
def test_choose(wanted: str, offers: tuple[str, ...], found: str | None) -> None:
    """The best variant that runs is chosen, and none that would not."""
    assert chosen(wanted, *offers) == found


def test_attestations() -> None:
    """What an index says about an image is none."""
    assert chosen("linux/amd64", "unknown/unknown") is None
    assert chosen("linux/amd64", None, "unknown/unknown") == "?"


def test_without_a_platform() -> None:
    """A lone image that does not say its platform is taken; among several it is not guessed."""
    assert chosen("linux/amd64", None) == "?"
    assert chosen("linux/amd64", None, "linux/arm64") is None
    assert chosen("linux/amd64", None, "linux/amd64") == "linux/amd64"


def test_the_first_of_two() -> None:
    """Of two for the same platform, the first is taken."""
    offers = [child("linux/amd64"), child("linux/amd64/v1")]

    assert choose(offers, Platform("linux", "amd64")) is offers[0]
