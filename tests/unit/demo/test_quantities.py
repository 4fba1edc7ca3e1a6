from __future__ import annotations

import pytest

from obol.demo import base as quantities
from obol.demo.base import REAL_STACK, parse_latency, parse_rate, parse_size
from obol.errors import UsageError


@pytest.mark.parametrize(
    ("text", "rate"), [("200M", 200e6), ("1.5G", 1.5e9), ("1000k", 1e6), ("50000000", 5e7), ("10G", 1e10)]
)
def test_rates(text: str, rate: float) -> None:
    """A rate is in bits per second, with decimal prefixes."""
    assert parse_rate("--rate", text) == rate


@pytest.mark.parametrize("text", ["", "fast", "200m", "200 M", "-1M", "1", "0.9M", "1e9", "200Mbit", "\u0662M"])
def test_bad_rates(text: str) -> None:
    """What is no rate, or too slow to wait for, is refused with the option's name and what is allowed."""
    with pytest.raises(UsageError) as refused:
        parse_rate("--rate", text)

    assert refused.value.what == f"--rate {text} cannot be used"
    assert "200M" in refused.value.why


@pytest.mark.parametrize(
    ("text", "size"), [("250M", 250_000_000), ("1G", 10**9), ("25%", REAL_STACK // 4), ("100%", REAL_STACK)]
)
def test_sizes(text: str, size: int) -> None:
    """A size is in bytes, or a part of the real stack's."""
    assert parse_size("--size", text) == size


@pytest.mark.parametrize("text", ["", "0", "999k", "11G", "0.01%", "2000%", "%", "many"])
def test_bad_sizes(text: str) -> None:
    """What is no size, too little to have the shapes or too much for a demo is refused."""
    with pytest.raises(UsageError, match="--size"):
        parse_size("--size", text)


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), ("0", 0.0), ("0.1s", 0.1), ("2", 2.0)])
def test_latencies(text: str, seconds: float) -> None:
    """A latency is in seconds or milliseconds."""
    assert parse_latency("--latency", text) == seconds


@pytest.mark.parametrize("text", ["", "20 ms", "3s", "1m", "-1ms"])
def test_bad_latencies(text: str) -> None:
    """What is no latency, or longer than any, is refused."""
    with pytest.raises(UsageError, match="--latency"):
        parse_latency("--latency", text)


def test_for_people() -> None:
    """Numbers are short, and have their unit."""
    assert [quantities.megabytes(size) for size in (0, 1_500_000, 250_180_000, 2e9)] == [
        "0 MB",
        "1.5 MB",
        "250 MB",
        "2,000 MB",
    ]
    assert [quantities.megabits(rate) for rate in (200e6, 1.5e6, 2e9)] == ["200 Mbit/s", "1.5 Mbit/s", "2,000 Mbit/s"]
    assert (quantities.seconds(18.44), quantities.milliseconds(0.02)) == ("18.4 s", "20 ms")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "all"),
        (0.5, "half"),
        (0.2498, "a quarter"),
        (0.1, "a tenth"),
        (0.33, "33%"),
        (0.06, "6%"),
        (0.008, "0.8%"),
    ],
)
def test_parts(share: float, text: str) -> None:
    """Common parts have a name, others are in percent."""
    assert quantities.part(share) == text
