import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.fields import MAX_LINE, next_page


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], None),
        ([""], None),
        (['</v2/a/tags/list?n=2&last=b>; rel="next"'], "/v2/a/tags/list?n=2&last=b"),
        (["</v2/a/tags/list?last=b>; rel=next"], "/v2/a/tags/list?last=b"),
        (["</x>;rel=next"], "/x"),
        (["</x>; rel='next'"], "/x"),
        (['< /x > ; rel = "next"'], "/x"),
        (['<https://other.test/x>; REL="Next"'], "https://other.test/x"),
        (['</x>; title="a, <b>; rel=prev"; rel="next"'], "/x"),
        (['</x>; rel="last next"'], "/x"),
        (['</p>; rel="prev", </n>; rel="next"'], "/n"),
        (["</p>; rel=prev , </n> ; rel = next"], "/n"),
        (['</p>; rel="prev"', '</n>; rel="next"'], "/n"),
        (['</a>; rel="next", </b>; rel="next"'], "/a"),
        (['</x>; rel="prev"; rel="next"'], None),
        (['</x>; flag; rel="next"'], "/x"),
        (["</x>; rel; rel=next"], None),
        (['</x>; rel=""'], None),
        (["</x>"], "/x"),
        (["</x>; title=x"], "/x"),
        (["</x>, </y>"], None),
        (["</x>", '</y>; rel="prev"'], None),
        (['</x>; rel="nextish"'], None),
        (['</x>; rel="prev"'], None),
        (['<>; rel="next"'], None),
    ],
)
def test_the_next_page(lines: list[str], expected: str | None) -> None:
    """The first link of relation `next` is found among others; of garbage nothing is."""
    assert next_page(lines) == expected


@pytest.mark.parametrize(
    "line",
    [
        '/x; rel="next"',
        '<a b>; rel="next"',
        '</x\r\nY: z>; rel="next"',
        '</ä>; rel="next"',
        '</x; rel="next"',
        '</x>; rel="next',
        'garbage, </x>; rel="next"',
        "garbage; REL = Next",
        f'<{"x" * MAX_LINE}>; rel="next"',
    ],
)
def test_a_next_page_that_cannot_be_found_is_an_error(line: str) -> None:
    """A list must not end silently where its registry says that it goes on."""
    with pytest.raises(ValueError, match="next page"):
        next_page([line])


@given(st.lists(st.text() | st.text(alphabet='<>;,="rel nxt\\', max_size=40), max_size=3))
@settings(max_examples=100)
def test_no_text_raises(lines: list[str]) -> None:
    """Whatever the lines, a target that is found can stand in a request; what looks like one and is none is told."""
    with contextlib.suppress(ValueError):
        target = next_page(lines)

        assert target is None or (target.isascii() and target.isprintable() and " " not in target)


def test_all_links_together_are_bounded() -> None:
    """A next page behind very many links is not found, and that is told: nobody honest hides it there."""
    assert next_page(["</other>; rel=other, " * 50, '</next>; rel="next"']) == "/next"
    with pytest.raises(ValueError, match="next page"):
        next_page(["</o>; rel=o, " * 200, '</next>; rel="next"'])
