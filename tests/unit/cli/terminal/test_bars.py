import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from obol.cli.terminal.bars import (
    ASCII,
    SHORTEST,
    STALLED,
    WINDOW,
    Picture,
    Row,
    SpeedMeter,
    about,
    amount,
    layout,
    left,
    may_draw,
    shortened,
    shown,
)
from tests.unit.cli.conftest import Screen


def test_speed_over_a_window() -> None:
    """The speed is that of the last seconds, not of all time."""
    meter = SpeedMeter()
    for second in range(21):
        meter.saw(float(second), second * 100 if second <= 10 else 1000 + (second - 10) * 700)

    assert meter.speed(20.0) == pytest.approx(700.0)


def test_too_little_seen() -> None:
    """One reading, or two at nearly the same moment, tell no speed."""
    meter = SpeedMeter()
    assert meter.speed(0.0) is None

    meter.saw(0.0, 0)
    meter.saw(0.1, 10_000_000)

    assert meter.speed(0.1) is None
    assert meter.speed(SHORTEST) == 20_000_000


def test_what_was_there_is_no_speed() -> None:
    """The first reading is where counting begins."""
    meter = SpeedMeter()

    meter.saw(0.0, 1_000_000)
    meter.saw(1.0, 1_000_100)

    assert meter.speed(1.0) == 100.0


def test_a_counter_that_goes_back() -> None:
    """An engine that was restarted counts from nothing: a new window begins, and no speed is negative."""
    meter = SpeedMeter()
    meter.saw(0.0, 0)
    meter.saw(2.0, 1000)

    meter.saw(3.0, 0)
    assert meter.speed(3.0) is None
    meter.saw(4.0, 50)

    assert meter.speed(4.0) == 50.0
    assert not meter.stalled(4.0)


def test_stalled() -> None:
    """What brings nothing for a while stands still, and goes on when a byte comes; before any reading nothing does."""
    meter = SpeedMeter()
    assert not meter.stalled(100.0)
    meter.saw(0.0, 10)
    meter.saw(1.0, 20)
    meter.saw(1.0 + STALLED, 20)

    assert not meter.stalled(STALLED)
    assert meter.stalled(1.0 + STALLED)
    meter.saw(2.0 + STALLED, 21)
    assert not meter.stalled(2.0 + STALLED)


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 1000)), max_size=40))
def test_a_speed_is_never_negative(readings: list[tuple[float, int]]) -> None:
    """Whatever the counter does, and however often it is read."""
    meter, now = SpeedMeter(), 0.0
    for passed, count in readings:
        now += passed
        meter.saw(now, count)
        assert (meter.speed(now) or 0) >= 0
        assert len(meter._readings) <= 2 + len([reading for reading in meter._readings if reading[0] > now - WINDOW])


@pytest.mark.parametrize(
    ("present", "total", "percent"),
    [
        (0, 100, 0),
        (50, 100, 50),
        (999_999, 1_000_000, 99),
        (100, 100, 100),
        (150, 100, 100),
        (0, 0, 100),
        (5, None, None),
    ],
)
def test_percent(present: int, total: int | None, percent: int | None) -> None:
    """Percents are whole, 100 is said of what is complete only, and never more."""
    assert Row("x", present, total).percent == percent


def test_time_left() -> None:
    """The rest at the measured speed; nothing where that would be a guess."""
    assert Row("x", 20, 100, speed=10.0).seconds_left == 8.0
    assert Row("x", 120, 100, speed=10.0).seconds_left == 0.0
    for blind in (
        Row("x", 20, 100),
        Row("x", 20, 100, speed=0.0),
        Row("x", 20, None, speed=10.0),
        Row("x", 20, 100, speed=10.0, stalled=True),
        Row("x", 20, 100, speed=10.0, at_least=True),
    ):
        assert blind.seconds_left is None


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


TITLE = "Deploying the workloads (12 s): litellm: http://127.0.0.1:4000/health/readiness does not answer yet [x]"


def drawn(picture: Picture, width: int, encoding: str = "utf-8") -> list[str]:
    """What a terminal of so many columns shows."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    Console(file=file, width=width, height=24, force_terminal=True, color_system=None).print(picture)
    file.seek(0)
    return file.read().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_line_fits(width: int) -> None:
    """A step and its images are drawn for the width of the terminal; no line is folded, and brackets are no markup."""
    lines = drawn(Picture(lambda: ROWS, lambda: TITLE), width)

    assert len(lines) == (3 if width == 120 else 5)
    assert max(len(line.rstrip()) for line in lines) <= width - len("^C^C")
    assert "Deploying the workloads (12 s)" in lines[0]
    assert (lines[0].rstrip()[-1:] == "…") is (width < 120)
    assert "45%" in "".join(lines)
    assert "about 10 s" in "".join(lines)


def test_only_a_step() -> None:
    """Where no image is on its way, there is the step alone; where there is no step, the images are."""
    assert len(drawn(Picture(list, lambda: "Stopping"), 80)) == 1
    assert len(drawn(Picture(lambda: ROWS), 80)) == 4


@pytest.mark.parametrize(("term", "draws"), [("xterm-256color", True), ("dumb", False), ("", True)])
def test_where_to_draw(monkeypatch: pytest.MonkeyPatch, term: str, draws: bool) -> None:
    """Where lines cannot be taken back nothing is drawn, and neither is it into a file."""
    monkeypatch.setenv("TERM", term)
    assert not may_draw()

    monkeypatch.setattr(sys, "stderr", Screen())

    assert may_draw() is draws


def test_drawn_in_ascii() -> None:
    """A terminal of few characters gets bars of these."""
    lines = drawn(Picture(lambda: ROWS), 80, "ascii")

    assert "#####" in lines[1]
    assert all(line.isascii() for line in lines)


def test_shown_and_gone() -> None:
    """While the block runs it is drawn, and in the end the lines are taken back."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24)

    with shown(Picture(lambda: ROWS), console):
        pass

    assert "120 MiB" in screen.getvalue()
    assert "\x1b[1A\x1b[2K" in screen.getvalue().rpartition("120 MiB")[2]
