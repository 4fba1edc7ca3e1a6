from __future__ import annotations

import pytest

from obol.config.preferences import Preferences, preferences
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
