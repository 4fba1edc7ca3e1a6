from __future__ import annotations

import dataclasses

import pytest

from obol.oci.references import Digest
from obol.registry.engine.answers import Page, Source, StoredBlob
from obol.registry.engine.counters import Counters
from tests.fakes.store import MemoryContent


def test_sources_are_the_words_of_the_header() -> None:
    """What `Obol-Cache` may say is a closed list, which scripts may rely on."""
    assert [source.value for source in Source] == ["hit", "miss", "revalidated", "stale"]


def test_answers_are_values() -> None:
    """An answer cannot be changed after it was given, so it may be kept and given again."""
    page = Page(b"{}", "application/json", Source.MISS)

    with pytest.raises(dataclasses.FrozenInstanceError):
        page.body = b""  # type: ignore[misc]  # that it is refused is the test


def test_page_has_no_more_by_default() -> None:
    """A page is the last one, and not filtered, unless said otherwise."""
    page = Page(b"{}", "application/json", Source.MISS)

    assert (page.next_page, page.filtered) == (None, False)


async def test_stored_blob_carries_what_counts_it() -> None:
    """Whoever sends a stored blob has its content and the counters of its space at hand."""
    content, counters, digest = MemoryContent(), Counters(), Digest.of(b"data")
    await content.put(digest, b"data")
    readable = await content.open(digest)
    assert readable is not None

    blob = StoredBlob(digest, readable, counters)

    assert (blob.content.size, blob.counters) == (4, counters)
    readable.close()
