from __future__ import annotations

import pytest

from obol.oci.manifests import Descriptor, Platform, choose
from obol.oci.references import Digest


def child(text: str | None) -> Descriptor:
    """An entry of an index; without text, one that does not say its platform."""
    named = None if text is None else Platform(*text.split("/"))
    return Descriptor("", Digest.of((text or "?").encode()), 1, named)


def chosen(wanted: str, *offers: str | None) -> str | None:
    """What is chosen for a platform, as text; "?" for the one without."""
    found = choose([child(text) for text in offers], Platform(*wanted.split("/")))
    return None if found is None else str(found.platform or "?")


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
