import dataclasses
import json
from pathlib import Path

import msgspec
import pytest

from obol.demo import base as quantities
from obol.demo.base import (
    REAL_STACK,
    DemoSettings,
    Link,
    MeasuredPull,
    Result,
    parse_latency,
    parse_rate,
    parse_size,
    shortcomings,
)
from obol.demo.images import QUARTER
from obol.errors import UsageError

PAGE = Path(__file__).parents[3] / "docs/json.md"


def result(*seconds: float, size: int = QUARTER) -> Result:
    """A result with four phases of these lengths."""
    direct, cold, warm, offline = seconds
    phases = (
        MeasuredPull("direct", direct, size, 0, 1.0),
        MeasuredPull("cold", cold, size, 0, direct / cold),
        MeasuredPull("warm", warm, 0, size, direct / warm),
        MeasuredPull("offline", offline, 0, size, direct / offline),
    )
    return Result(size, REAL_STACK, 9, 49, Link(), phases, shortcomings(*seconds))


def test_the_default_is_a_quarter() -> None:
    """Unless told otherwise, a quarter of the real bytes is pulled over 200 Mbit/s."""
    settings = DemoSettings()

    assert result(18.0, 11.0, 1.0, 1.0, size=settings.size).share == 0.25
    assert settings.link == Link(200e6, 50e6, 0.02)


def test_what_is_promised() -> None:
    """Nothing is missed where cold is faster than direct, and warm and offline are five times faster."""
    assert shortcomings(10.0, 9.9, 2.0, 2.0) == ()


def test_what_is_missed_is_said() -> None:
    """Each promise that was not kept gets a sentence with its numbers."""
    assert shortcomings(10.0, 10.0, 2.5, 4.0) == (
        "the cold pull took 10.0 s, no less than the direct one (10.0 s)",
        "the warm pull was 4.0 times faster than the direct one, not 5 times",
        "the offline pull was 2.5 times faster than the direct one, not 5 times",
    )


def test_json() -> None:
    """The result as JSON has these fields; programs rely on them."""
    told = json.loads(msgspec.json.encode(result(18.0, 12.0, 1.0, 2.0, size=1_000_000)))

    assert told == {
        "size": 1_000_000,
        "real_size": 1_000_720_000,
        "images": 9,
        "layers": 49,
        "link": {"total_bps": 200e6, "connection_bps": 50e6, "latency": 0.02},
        "phases": [
            phase("direct", 18.0, 1.0, upstream=1_000_000),
            phase("cold", 12.0, 1.5, upstream=1_000_000),
            phase("warm", 1.0, 18.0, cache=1_000_000),
            phase("offline", 2.0, 9.0, cache=1_000_000),
        ],
        "missed": [],
    }


def phase(name: str, seconds: float, faster: float, upstream: int = 0, cache: int = 0) -> dict[str, object]:
    """A phase in JSON."""
    return {
        "name": name,
        "seconds": seconds,
        "bytes_from_upstream": upstream,
        "bytes_from_cache": cache,
        "times_faster": faster,
    }


def test_every_field_is_documented() -> None:
    """The page about JSON explains each field of the JSON."""
    page = PAGE.read_text(encoding="utf-8")

    fields = [field.name for kind in (Result, Link, MeasuredPull) for field in dataclasses.fields(kind)]

    assert [name for name in fields if f"`{name}`" not in page] == []


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
