from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec

from obol.demo.base import REAL_STACK, DemoSettings, Link, MeasuredPull, Result, shortcomings
from obol.demo.images import QUARTER

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
