from __future__ import annotations

import re
from pathlib import Path

import pytest

from obol.config import sources
from obol.config.sources import unread

SOURCES = Path(sources.__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OBOL_CACHE_TAGTTL", "OBOL_CACHE_TAG_TTL"),
        ("OBOL_CACHE_STOR", "OBOL_CACHE_STORE"),
        ("OBOL_DEVELOPMEN", "OBOL_DEVELOPMENT"),
        ("OBOL_CONFG_DIR", "OBOL_CONFIG_DIR"),
        ("OBOL_DISABLE_REGISTRY_CACHES", "OBOL_DISABLE_REGISTRY_CACHE"),
    ],
)
def test_a_typing_error(name: str, meant: str) -> None:
    """A variable that looks like one of ours is told with what may have been meant, and without its value."""
    assert list(unread({name: "secret"})) == [f"warning: the variable {name} has no effect; did you mean {meant}?"]


def test_nothing_alike() -> None:
    """One that looks like none of ours is told, too, on one line."""
    assert list(unread({"OBOL_X\nY": "1"})) == ["warning: the variable OBOL_X\\nY has no effect"]


def test_left_alone() -> None:
    """Ours, those of others, and those that say nothing are left alone."""
    given = {"OBOL_CACHE_TAG_TTL": "5m", "OBOL_BIN_DIR": "/x", "OBOL_RELEASE": "v1", "OBOL_NONSENSE": "", "PATH": "/"}

    assert list(unread(given)) == []


def test_all_of_ours_are_known() -> None:
    """Whatever variable the sources read is a known one."""
    pattern = re.compile(r"\bOBOL_[A-Z]+(?:_[A-Z]+)*\b")
    read = {name for path in SOURCES.rglob("*.py") for name in pattern.findall(path.read_text(encoding="utf-8"))}

    assert list(unread(dict.fromkeys(read, "x"))) == []
