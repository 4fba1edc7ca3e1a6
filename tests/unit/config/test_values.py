from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.config import values
from obol.config.values import BadValueError


@pytest.mark.parametrize(
    ("parse", "written", "read"),
    [
        (values.registry, "GHCR.io", "ghcr.io"),
        (values.registry, "index.docker.io", "docker.io"),
        (values.registry, "localhost:5000", "localhost:5000"),
        (values.origin, "https://Mirror.example", "https://mirror.example"),
        (values.origin, "http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        (values.origin, "http://[::1]:5000", "http://[::1]:5000"),
        (values.origin, "https://registry-1.docker.io", "https://registry-1.docker.io"),
        (values.port, "0", 0),
        (values.port, "65535", 65535),
        (values.port, 54100, 54100),
        (values.address, "127.0.0.1", "127.0.0.1"),
        (values.address, "0:0:0:0:0:0:0:1", "::1"),
        (values.host, "CDN.internal.", "cdn.internal"),
        (values.host, "10.0.0.7", "10.0.0.7"),
        (values.host, "[fd00::1]", "fd00::1"),
        (values.host, "my_host", "my_host"),
        (values.seconds, "0", 0.0),
        (values.seconds, "1.5", 1.5),
        (values.seconds, "90s", 90.0),
        (values.seconds, "5m", 300.0),
        (values.seconds, "2h", 7200.0),
        (values.seconds, "1d", 86400.0),
        (values.seconds, 30, 30.0),
        (values.seconds, 0.5, 0.5),
        (values.size, "0", 0),
        (values.size, "1000", 1000),
        (values.size, "8KiB", 8192),
        (values.size, "64MiB", 64 * 1024 * 1024),
        (values.size, "1GiB", 1024**3),
        (values.size, 5, 5),
        (values.directory, "/x", "/x"),
    ],
)
def test_accepted(parse: Callable[[object], object], written: object, read: object) -> None:
    """What is meant is understood, in one form."""
    assert parse(written) == read


@pytest.mark.parametrize(
    ("parse", "written"),
    [
        (values.registry, "https://ghcr.io"),
        (values.registry, "ghcr.io/x"),
        (values.registry, "user@ghcr.io"),
        (values.registry, ""),
        (values.registry, 5),
        (values.origin, "ghcr.io"),
        (values.origin, "ftp://ghcr.io"),
        (values.origin, "https://user:pw@ghcr.io"),
        (values.origin, "https://ghcr.io/v2"),
        (values.origin, "https://ghcr.io?x=1"),
        (values.origin, "https://ghcr.io#x"),
        (values.origin, "https://"),
        (values.origin, "https://ghcr.io:99999"),
        (values.origin, "https://gh cr.io"),
        (values.origin, "https://ghcr.io\n"),
        (values.origin, "https://[::1"),
        (values.origin, None),
        (values.port, "-1"),
        (values.port, "65536"),
        (values.port, "1e3"),
        (values.port, "٣"),
        (values.port, True),
        (values.port, 1.5),
        (values.port, ""),
        (values.address, "localhost"),
        (values.address, "127.0.0.1:80"),
        (values.address, 3),
        (values.host, "a b"),
        (values.host, "host:80"),
        (values.host, "-x"),
        (values.host, "*"),
        (values.host, ""),
        (values.host, "a" * 254),
        (values.host, 1),
        (values.seconds, "-1"),
        (values.seconds, "1w"),
        (values.seconds, "nan"),
        (values.seconds, float("inf")),
        (values.seconds, -0.1),
        (values.seconds, True),
        (values.seconds, ""),
        (values.size, "64M"),
        (values.size, "-1"),
        (values.size, "1.5MiB"),
        (values.size, -1),
        (values.size, True),
        (values.size, ""),
        (values.directory, ""),
        (values.directory, "a\0b"),
        (values.directory, 3),
    ],
)
def test_refused(parse: Callable[[object], object], written: object) -> None:
    """Anything else is refused, and the error says what is allowed."""
    with pytest.raises(BadValueError, match=r"^(a|an|the) "):
        parse(written)


@pytest.mark.parametrize("parse", [values.registry, values.origin, values.port, values.address, values.host])
@given(text=st.binary().map(lambda raw: raw.decode("latin-1")))
@settings(max_examples=100)
def test_any_text(parse: Callable[[object], object], text: str) -> None:
    """No text makes a parser raise anything but its own error."""
    try:
        parse(text)
    except BadValueError as refused:
        assert str(refused)  # noqa: PT017 - any input may be refused, or not
