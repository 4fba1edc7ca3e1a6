from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.cli.terminal.columns import table_lines

URL = "http://127.0.0.1:4000/v1/models"
TITLES = ("Name", ">Ready", "Where", "Note")
ROWS = (("litellm", "1 of 1", URL, "as it was told a while ago"), ("prometheus", "0 of 1", "", ""))


def test_room_for_all() -> None:
    """Columns are as wide as their longest cell; numbers stand to the right, and no line ends with blanks."""
    assert table_lines((">Count", "Name"), (("1", "a"), ("20,000", "b c")), 80) == [
        " Count  Name",
        "     1  a",
        "20,000  b c",
    ]


def test_folded_between_words() -> None:
    """Where there is too little room, the widest columns give way, and words stay whole."""
    assert table_lines(TITLES, ROWS, 70) == [
        "Name         Ready  Where                            Note",
        "litellm     1 of 1  http://127.0.0.1:4000/v1/models  as it was told a",
        "                                                     while ago",
        "prometheus  0 of 1",
    ]


@pytest.mark.parametrize("width", [1, 20, 40, 60])
def test_too_narrow(width: int) -> None:
    """What people copy is in one piece on any terminal."""
    assert URL in "\n".join(table_lines(TITLES, ROWS, width))


@given(
    rows=st.lists(st.tuples(st.text("ab ", max_size=30), st.text("cd/ ", max_size=30)), max_size=5),
    width=st.integers(0, 80),
)
def test_nothing_is_lost(rows: list[tuple[str, str]], width: int) -> None:
    """Every word of every cell is there, whatever the width."""
    lines = table_lines(("X", "Y"), rows, width)

    words = sorted(word for line in lines for word in line.split())
    assert words == sorted(word for row in (("X", "Y"), *rows) for cell in row for word in cell.split())
