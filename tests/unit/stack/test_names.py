from __future__ import annotations

import re

from obol.stack.names import FIRST, LONGEST, SECOND, two_words


def test_every_name_fits_a_cluster() -> None:
    """The longest pair is short enough for k3d, and every word is plain."""
    longest = len(max(FIRST, key=len)) + 1 + len(max(SECOND, key=len))

    assert longest <= LONGEST
    assert all(re.fullmatch("[a-z]+", word) for word in (*FIRST, *SECOND))
    assert len(set(FIRST)) == len(FIRST)
    assert len(set(SECOND)) == len(SECOND)


def test_chance_decides() -> None:
    """The name is made of the words that chance points at."""
    assert two_words(lambda below: below - 1) == f"{FIRST[-1]}-{SECOND[-1]}"
    assert two_words(lambda _: 0) == f"{FIRST[0]}-{SECOND[0]}"
