from __future__ import annotations

import dataclasses

import pytest

from obol.registry.control.api import Source
from obol.registry.engine.answers import Page


def test_answers_are_values() -> None:
    """An answer cannot be changed after it was given, so it may be kept and given again."""
    page = Page(b"{}", "application/json", Source.MISS)

    with pytest.raises(dataclasses.FrozenInstanceError):
        page.body = b""  # type: ignore[misc]  # that it is refused is the test


def test_page_has_no_more_by_default() -> None:
    """A page is the last one, and not filtered, unless said otherwise."""
    page = Page(b"{}", "application/json", Source.MISS)

    assert (page.next_page, page.filtered) == (None, False)
