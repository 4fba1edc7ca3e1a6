from datetime import UTC, datetime
from email.utils import format_datetime, formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.registry.policy.retry import (
    DEFAULT_BACKOFF,
    FIRST_DELAY,
    LEAST_BACKOFF,
    LONGEST_BACKOFF,
    LONGEST_DELAY,
    backoff,
    delay,
)

WALL = 1_790_000_000.0
SHORTLY = datetime.fromtimestamp(WALL + 120, UTC)


@given(st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_delay_stays_within_its_bounds(attempt: int, chance: float) -> None:
    """However many attempts there were, a retry waits no longer than the schedule's ceiling."""
    ceiling = min(FIRST_DELAY * 2.0 ** min(attempt, 30), LONGEST_DELAY)

    assert 0 <= delay(attempt, chance) <= ceiling


def test_ceilings_double_up_to_the_longest() -> None:
    """Each retry may wait twice as long as the one before."""
    assert [delay(attempt, 1.0) for attempt in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])


def test_jitter_is_full() -> None:
    """With chance zero a retry comes at once: the ceiling is spread over all of its length."""
    assert delay(3, 0.0) == 0


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("30", 30.0),
        (" 30 ", 30.0),
        ("0", LEAST_BACKOFF),
        ("901", LONGEST_BACKOFF),
        ("9" * 400, LONGEST_BACKOFF),
        (formatdate(WALL + 120, usegmt=True), 120.0),
        (SHORTLY.strftime("%A, %d-%b-%y %H:%M:%S GMT"), 120.0),
        (SHORTLY.strftime("%a %b %d %H:%M:%S %Y"), 120.0),
        (format_datetime(SHORTLY.replace(tzinfo=None)), 120.0),
        (formatdate(WALL - 3600, usegmt=True), LEAST_BACKOFF),
        (formatdate(WALL + 10**8, usegmt=True), LONGEST_BACKOFF),
        (None, DEFAULT_BACKOFF),
        ("", DEFAULT_BACKOFF),
        ("soon", DEFAULT_BACKOFF),
        ("-5", DEFAULT_BACKOFF),
        ("1.5", DEFAULT_BACKOFF),
        ("\u0663\u0660", DEFAULT_BACKOFF),
        ("Mon, 99 Foo 2026 25:61:61 GMT", DEFAULT_BACKOFF),
        ("Mon, 01 Jan 99999 00:00:00 GMT", DEFAULT_BACKOFF),
    ],
)
def test_retry_after_is_read_and_clamped(retry_after: str | None, seconds: float) -> None:
    """Seconds and the three forms of HTTP dates are honoured within bounds; what cannot be read means 30 s."""
    assert backoff(retry_after, WALL) == seconds


def test_a_date_does_not_depend_on_the_machines_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A date without a zone is UTC wherever we run."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")

    assert backoff(format_datetime(SHORTLY.replace(tzinfo=None)), WALL) == 120.0


words = st.sampled_from(
    ["Mon,", "Nov", "Foo", "GMT", "-0000", "+9999", "25:61:61", "10:00:00", "10:00", "99", "2026", "0"]
)


@given(st.text(max_size=30) | st.lists(words, max_size=7).map(" ".join))
def test_any_retry_after_gives_a_sane_time(retry_after: str) -> None:
    """No header, however odd, raises or leads outside the bounds."""
    assert LEAST_BACKOFF <= backoff(retry_after, WALL) <= LONGEST_BACKOFF


def test_a_very_long_number_is_only_long() -> None:
    """Of a Retry-After of thousands of digits the first are enough."""
    assert backoff("9" * 30_000, 0.0) == LONGEST_BACKOFF
