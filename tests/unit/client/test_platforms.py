import contextlib
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.client.platforms import parse_platform, this_machine
from obol.errors import UsageError
from obol.oci.manifests import Platform


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
