import pytest

from obol.config.preferences import Preferences, preferences, shown
from obol.errors import SettingsError


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, Preferences()),
        ({"OBOL_OUTPUT": "", "OBOL_QUIET": ""}, Preferences()),
        ({"OBOL_OUTPUT": "json", "OBOL_VERBOSE": "true"}, Preferences("json", verbose=True)),
        ({"OBOL_OUTPUT": "Human", "OBOL_QUIET": "1", "OBOL_VERBOSE": "off"}, Preferences(quiet=True)),
        ({"OBOL_NONINTERACTIVE": "yes"}, Preferences(interactive=False)),
    ],
)
def test_talk(environ: dict[str, str], found: Preferences) -> None:
    """Each wish is read by itself, and an empty variable is none."""
    assert preferences(environ) == found


def test_words_that_are_not_understood() -> None:
    """All of them are told at once, each with what is allowed."""
    with pytest.raises(SettingsError) as caught:
        preferences({"OBOL_OUTPUT": "xml", "OBOL_QUIET": "perhaps"})

    assert caught.value.problems == (
        "OBOL_OUTPUT=xml: must be human or json",
        "OBOL_QUIET=perhaps: must be true or false (or 1 or 0, yes or no, on or off)",
    )


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
