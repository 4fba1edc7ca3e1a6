import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.ranges import (
    ContentRange,
    OpenRange,
    Part,
    Unsatisfiable,
    Whole,
    parse_content_range,
    parse_open_range,
    parse_range,
)

SIZE = 3000
GIBIBYTES = 12 * 1024**3


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, SIZE, Whole()),
        ("bytes=500-1499", SIZE, Part(500, 1500)),
        ("bytes=500-", SIZE, Part(500, SIZE)),
        ("bytes=-500", SIZE, Part(2500, SIZE)),
        ("bytes=2000-5000", SIZE, Part(2000, SIZE)),
        ("bytes=0-0", SIZE, Part(0, 1)),
        ("bytes=0-", SIZE, Part(0, SIZE)),
        ("bytes=0-2999", SIZE, Part(0, SIZE)),
        ("bytes=2999-", SIZE, Part(2999, SIZE)),
        ("bytes=-5000", SIZE, Part(0, SIZE)),
        ("BYTES=1-2", SIZE, Part(1, 3)),
        ("bytes= 1-2\t", SIZE, Part(1, 3)),
        (f"bytes=0-{'9' * 19}", SIZE, Part(0, SIZE)),
        (f"bytes={11 * 1024**3}-", GIBIBYTES, Part(11 * 1024**3, GIBIBYTES)),
        ("bytes=500-0", SIZE, Unsatisfiable()),
        ("bytes=3000-", SIZE, Unsatisfiable()),
        ("bytes=3000-4000", SIZE, Unsatisfiable()),
        (f"bytes={'9' * 19}-", SIZE, Unsatisfiable()),
        ("bytes=-0", SIZE, Unsatisfiable()),
        ("bytes=0-", 0, Unsatisfiable()),
        ("bytes=0-0", 0, Unsatisfiable()),
        ("bytes=-1", 0, Unsatisfiable()),
        ("bytes=-0", 0, Unsatisfiable()),
        ("items=0-5", SIZE, Whole()),
        ("seconds=1-2", 0, Whole()),
        ("bytes=0-3,5-9,16-20", SIZE, Whole()),
        ("bytes=9000-,9001-", SIZE, Whole()),
        ("bytes=,0-5", SIZE, Whole()),
        ("bytes=", SIZE, Whole()),
        ("bytes=-", SIZE, Whole()),
        ("bytes=5", SIZE, Whole()),
        ("bytes=--5", SIZE, Whole()),
        ("bytes=+1-2", SIZE, Whole()),
        ("bytes=1-+2", SIZE, Whole()),
        ("bytes=1 - 2", SIZE, Whole()),
        ("bytes=0x1-0x2", SIZE, Whole()),
        ("bytes=1_0-20", SIZE, Whole()),
        ("bytes=1.0-2", SIZE, Whole()),
        ("bytes=\u0661-\u0662", SIZE, Whole()),
        ("bytes=1-2\n", SIZE, Whole()),
        (f"bytes={'1' * 20}-", SIZE, Whole()),
        ("bytes 0-5", SIZE, Whole()),
        ("bytes:0-5", SIZE, Whole()),
        ("0-5", SIZE, Whole()),
        ("", SIZE, Whole()),
    ],
)
def test_ranges(header: str | None, size: int, expected: Whole | Part | Unsatisfiable) -> None:
    """One good range gives a part or 416; everything that is not followed gives the whole content."""
    assert parse_range(header, size) == expected


@given(st.integers(0, 50), st.integers(0, 60) | st.none(), st.integers(0, 60) | st.none())
@settings(max_examples=100)
def test_a_part_is_a_slice(size: int, first: int | None, last: int | None) -> None:
    """A part holds the bytes that a slice of the content holds; where the slice is empty it is refused."""
    content = bytes(range(size))
    header = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is not None:
        expected = content[first:] if last is None else content[first : last + 1]
    else:
        expected = content[-last:] if last else b""

    match parse_range(header, size):
        case Part(start, stop):
            assert content[start:stop] == expected
            assert expected
        case Unsatisfiable():
            assert not expected
        case Whole():
            assert header == "bytes=-"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("items=0-1", None),
        ("bytes=0-1,3-4", None),
        ("bytes=7-", OpenRange(7, None, None)),
        ("bytes=7-9", OpenRange(7, 10, None)),
        ("bytes=7-7", OpenRange(7, 8, None)),
        ("bytes=500-0", OpenRange(500, 1, None)),
        ("bytes=-9", OpenRange(None, None, 9)),
        ("bytes=-0", OpenRange(None, None, 0)),
    ],
)
def test_ranges_of_content_of_unknown_size(header: str | None, expected: OpenRange | None) -> None:
    """A range can be read before the size is known."""
    assert parse_open_range(header) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 0-9/10", ContentRange(0, 10, 10)),
        ("bytes 5-9/100", ContentRange(5, 10, 100)),
        ("bytes 5-9/*", ContentRange(5, 10, None)),
        ("Bytes 0-0/1", ContentRange(0, 1, 1)),
        (f"bytes 0-1/{'9' * 19}", ContentRange(0, 2, int("9" * 19))),
        (None, None),
        ("", None),
        ("bytes */10", None),
        ("bytes 0-10/10", None),
        ("bytes 5-4/10", None),
        ("bytes 5-4/*", None),
        ("bytes=0-9/10", None),
        ("bytes  0-9/10", None),
        (" bytes 0-9/10", None),
        ("bytes 0-9/10 ", None),
        ("bytes 0-9/10\n", None),
        ("bytes 0-9", None),
        ("bytes -9/10", None),
        ("bytes 0-/10", None),
        ("bytes +0-9/10", None),
        ("bytes 0-9/-10", None),
        ("bytes \u0660-\u0669/\u0661\u0660", None),
        ("items 0-9/10", None),
        (f"bytes 0-9/{'1' * 20}", None),
        ("bytes 0-1,3-4/10", None),
    ],
)
def test_what_an_answer_says_it_holds(value: str | None, expected: ContentRange | None) -> None:
    """Content-Range is read strictly: a part that was misread would be written at the wrong place."""
    assert parse_content_range(value) == expected


@given(st.text() | st.from_regex(r"bytes[= ][0-9,*/ -]{0,20}", fullmatch=True), st.integers(0, 2**63 - 1))
@settings(max_examples=100)
def test_no_text_raises(text: str, size: int) -> None:
    """Whatever the text, there is an answer, and a part lies within the content."""
    found = parse_range(text, size)
    held = parse_content_range(text)

    assert not isinstance(found, Part) or 0 <= found.start < found.stop <= size
    assert held is None or 0 <= held.start < held.stop
