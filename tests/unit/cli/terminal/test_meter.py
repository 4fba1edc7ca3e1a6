from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.cli.terminal.meter import SHORTEST, STALLED, WINDOW, Row, SpeedMeter


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
