import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.oci.fields import MAX_ALL, MAX_LINES, worth_reading

LONG = "x" * (MAX_ALL // 2)


@pytest.mark.parametrize(
    ("lines", "read"),
    [
        ([], []),
        (["a", LONG + "b"], ["a", LONG]),
        (["a"] * (MAX_LINES + 1), ["a"] * MAX_LINES),
        ([LONG * 3, LONG, "never"], [LONG, LONG]),
        ([LONG, LONG[1:], "yz", "never"], [LONG, LONG[1:], "y"]),
    ],
)
def test_the_first_lines_count(lines: list[str], read: list[str]) -> None:
    """Lines are cut at their own limit, and end at that of their number or of all characters."""
    assert list(worth_reading(lines, len(LONG))) == read


@given(st.lists(st.text(max_size=3000), max_size=100))
def test_all_lines_have_a_limit(lines: list[str]) -> None:
    """Whatever comes, what is read is bounded."""
    read = list(worth_reading(lines, 2000))

    assert len(read) <= MAX_LINES
    assert sum(map(len, read)) <= MAX_ALL
