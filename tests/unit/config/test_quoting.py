from __future__ import annotations

import pytest

from obol.config.preferences import shown


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain", "plain"),
        (54100, "54100"),
        (True, "true"),
        ("https://ada:se=cr@t@ghcr.io", "https://***@ghcr.io"),
        ("docker.io=https://ada:secret@mirror", "docker.io=https://***@mirror"),
        ("docker.io=ada:secret@mirror", "***@mirror"),
        ("ada:sec://ret@mirror", "***@mirror"),
        ("https://x.io/?token=secret", "https://x.io/?***"),
        ("a\x1b[31mb\n", "a\\x1b[31mb\\n"),
        ("x" * 200, "x" * 100 + "…"),
        ({"proxy": "http://ada:secret@proxy"}, "{…}"),
    ],
)
def test_shown(value: object, quoted: str) -> None:
    """A refused value is quoted without secrets, without control characters, and not at any length."""
    assert shown(value) == quoted
