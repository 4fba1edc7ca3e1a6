"""A table as lines of text. Pure, and without rich, which takes longer to load than most commands run.

Cells are folded between words where the table is too wide, and never within one: people copy URLs and paths. Where not
even that fits, lines are longer than the terminal is wide.
"""

from __future__ import annotations

import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

GAP = "  "


def table_lines(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """Lay a table out, the line (or lines) of titles first; a title that begins with > is for a column of numbers."""
    right = [title.startswith(">") for title in titles]
    cells = [[title.removeprefix(">") for title in titles], *rows]
    widths = _widths(list(zip(*cells, strict=True)), width)
    lines = []
    for row in cells:
        folded = [_folded(cell, column) for cell, column in zip(row, widths, strict=True)]
        for parts in zip_longest(*folded, fillvalue=""):
            placed = (
                part.rjust(column) if number else part.ljust(column)
                for part, column, number in zip(parts, widths, right, strict=True)
            )
            lines.append(GAP.join(placed).rstrip())
    return lines


def _folded(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]


def _widths(columns: Sequence[Sequence[str]], width: int) -> list[int]:
    """As wide as its longest cell is each column, unless that is too much: then the widest give way first."""
    found = [max(map(len, cells)) for cells in columns]
    least = [max((len(word) for cell in cells for word in cell.split()), default=0) for cells in columns]
    surplus = sum(found) + len(GAP) * (len(found) - 1) - width
    while surplus > 0 and (able := [at for at in range(len(found)) if found[at] > least[at]]):
        found[max(able, key=found.__getitem__)] -= 1
        surplus -= 1
    return [max(column, 1) for column in found]
