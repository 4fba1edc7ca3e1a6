from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.cli.terminal.layout import ASCII, about, amount, layout, left, shortened
from obol.cli.terminal.meter import Row

MIB = 1 << 20
LITELLM = "ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable"
ROWS = [
    Row(LITELLM, 54 * MIB, 120 * MIB, 7.1 * MIB),
    Row("All images (5 of 9 in the cache)", 83 * MIB, 135 * MIB, 8 * MIB),
]


def test_wide() -> None:
    """A wide terminal has a line for each image: name, bar, percent, bytes, speed and an estimate of the time left."""
    first, second = layout(ROWS, 120, 24)

    name = "  ghcr.io/…llm-non_root:main-v1.83.14-stable  "
    assert first == f"{name}{'━' * 12:─<28}  45%   54.0/120 MiB   7.1 MiB/s  about 10 s"
    name = f"{'  All images (5 of 9 in the cache)':<46}"
    assert second == f"{name}{'━' * 17:─<28}  61%   83.0/135 MiB   8.0 MiB/s  about 7 s"


def test_eighty_columns() -> None:
    """Two lines for each leave the name whole and the bar wide."""
    assert layout(ROWS, 80, 24) == [
        "  ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable",
        "  ━━━━━━━━━━━━━━──────────────────  45%   54.0/120 MiB   7.1 MiB/s  about 10 s",
        "  All images (5 of 9 in the cache)",
        "  ━━━━━━━━━━━━━━━━━━━─────────────  61%   83.0/135 MiB   8.0 MiB/s  about 7 s",
    ]


def test_narrow() -> None:
    """On a narrow terminal percent and the time that is left stay."""
    assert layout(ROWS, 60, 24)[1] == "  ━━━━━───────  45%   54.0/120 MiB   7.1 MiB/s  about 10 s"
    assert layout(ROWS, 40, 24)[:2] == [
        "  ghcr.io/…non_root:main-v1.83.14-stable",
        "  ━━━━━━━━───────────  45%  about 10 s",
    ]


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 99, 100, 120, 200])
def test_lines_fit(width: int) -> None:
    """No line is longer than the terminal is wide."""
    extreme = Row("x/" * 300, 1022 * MIB, 1023 * MIB, 1023 * 1024)

    assert max(map(len, layout([extreme, *ROWS], width, 24))) <= width


@pytest.mark.parametrize(("height", "count"), [(2, 2), (6, 6), (7, 6), (24, 20)])
def test_few_lines(height: int, count: int) -> None:
    """No more images are shown than there is room for; the line about all of them always is."""
    lines = layout([*([ROWS[0]] * 9), ROWS[1]], 80, height)

    assert len(lines) == count
    assert lines[-2] == "  All images (5 of 9 in the cache)"


def test_ascii() -> None:
    """A terminal that has no such characters gets others."""
    assert all(line.isascii() for line in layout([Row("r/" + "n" * 200, 1, 2), ROWS[1]], 80, 24, ASCII))


@pytest.mark.parametrize(("present", "done"), [(0, 0), (1, 0), (500, 9), (999, 18), (1000, 19), (2000, 19)])
def test_only_what_is_complete_has_a_full_bar(present: int, done: int) -> None:
    """A bar is full when all is there, and not a byte before."""
    line = layout([Row("a/b", present, 1000)], 40, 24)[1]

    assert (line.count("━"), line.count("─")) == (done, 19 - done)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Row("x", 56 * MIB, 120 * MIB), "56.0/120 MiB"),
        (Row("x", 120 * MIB - 1, 120 * MIB), "119/120 MiB"),
        (Row("x", 0, 12 << 30), "0.0/12.0 GiB"),
        (Row("x", 5, 700), "5/700 B"),
        (Row("x", 0, 0), "0/0 B"),
        (Row("x", 500 * MIB, 120 * MIB), "120/120 MiB"),
        (Row("x", 3 * MIB, None), "3.0 MiB of ?"),
        (Row("x", 3 * MIB, 9 * MIB, at_least=True), "3.0/9.0+ MiB"),
        (Row("x", 1023 * MIB, 1023 * MIB), "1023/1023 MiB"),
    ],
)
def test_amount(row: Row, text: str) -> None:
    """Bytes of bytes in one unit, rounded down, never more than all; an unknown total is called one."""
    assert amount(row) == text
    assert len(text) <= 13


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (Row("x", 20, 100, 10.0), "about 8 s"),
        (Row("x", 99, 100, 1000.0), "about 1 s"),
        (Row("x", 20, 100, 0.5), "about 3 min"),
        (Row("x", 0, 100_000, 10.0), "about 3 h"),
        (Row("x", 0, 10**9, 1.0), "days"),
        (Row("x", 100, 100, 10.0), "complete"),
        (Row("x", 20, 100, 10.0, stalled=True), "stalled"),
        (Row("x", 20, 100, stalled=True, waiting=True), "waiting"),
        (Row("x", 20, None, 10.0), "size unknown"),
        (Row("x", 20, 100, 10.0, at_least=True), "size unknown"),
        (Row("x", 20, 100, 0.0), ""),
        (Row("x", 20, 100), ""),
    ],
)
def test_left(row: Row, text: str) -> None:
    """The time that is left is called an estimate, or it is said why there is none."""
    assert left(row) == text


@given(st.floats(0, 1e12))
def test_about_fits(seconds: float) -> None:
    """An estimate has 12 columns at most."""
    assert len(about(seconds)) <= 12


@pytest.mark.parametrize(
    ("name", "width", "text"),
    [
        ("ghcr.io/a/b:1", 13, "ghcr.io/a/b:1"),
        ("ghcr.io/berriai/litellm:main-stable", 30, "ghcr.io/…i/litellm:main-stable"),
        ("registry-a.example.com/x/app:1", 20, "registry-a…m/x/app:1"),
        ("registry-b.example.com/x/app:1", 20, "registry-b…m/x/app:1"),
        ("All images (5 of 9 in the cache)", 12, "All images …"),
        ("ghcr.io/a", 1, "…"),
    ],
)
def test_shortened(name: str, width: int, text: str) -> None:
    """Names are cut in the middle: their registry tells them apart, their end says what they are."""
    assert shortened(name, width) == text


@given(st.text("ab./:", min_size=1, max_size=80), st.integers(1, 80))
def test_shortened_fits(name: str, width: int) -> None:
    """Whatever is cut, it fits, and what fits is not cut."""
    assert len(shortened(name, width)) <= width
    if len(name) <= width:
        assert shortened(name, width) == name


def test_two_registries() -> None:
    """One image of two registries has two names, also where there is little room."""
    names = [f"{registry}/berriai/litellm-non_root:main-v1.83.14-stable" for registry in ("ghcr.io", "docker.io")]

    assert len({shortened(name, 30) for name in names}) == 2
