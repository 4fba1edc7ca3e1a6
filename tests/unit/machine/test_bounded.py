from obol.machine.bounded import Bounded, Recent
from tests.fakes.clock import FakeClock


def test_least_recently_used_leaves_first() -> None:
    """When there are too many entries, the one that was longest neither read nor written goes."""
    kept: Bounded[str, int] = Bounded(3)
    for number, key in enumerate("abc"):
        kept[key] = number

    assert kept.get("a") == 0
    kept["b"] = 5
    kept["d"] = 3

    assert [kept.get(key) for key in "abcd"] == [0, 5, None, 3]
    assert len(kept) == 3


def test_weights() -> None:
    """Entries may count by what they hold; one that is written again, or forgotten, is not counted twice."""
    kept: Bounded[str, bytes] = Bounded(10, lambda _, value: len(value))
    for value in (b"12345678", b"1", b"123456"):
        kept["a"] = value
    kept["b"] = b"1234"
    assert (kept.get("a"), kept.get("b")) == (b"123456", b"1234")

    assert kept.pop("a") == b"123456"
    assert kept.pop("a") is None
    kept["c"] = b"123456"
    assert kept.get("b") is not None

    kept["d"] = b"more than there is room for"
    assert len(kept) == 0


def test_clear() -> None:
    """After a clear there is as much room as at the beginning."""
    kept: Bounded[int, int] = Bounded(2)
    kept[1] = kept[2] = 0
    kept.clear()

    assert kept.get(1) is None
    kept[3] = kept[4] = 0
    assert len(kept) == 2


def test_age() -> None:
    """What happened is known by its age on the monotonic clock; a jump of the wall clock is nothing to it."""
    clock = FakeClock()
    recent: Recent[str] = Recent(clock, capacity=2)

    recent.mark("a")
    clock.advance(5.0)
    clock.date += 31_536_000.0
    assert recent.age("a") == 5.0
    assert recent.age("b") is None

    recent.mark("a")
    assert recent.age("a") == 0.0
    for key in "bc":
        recent.mark(key)
    assert recent.age("a") is None
    assert len(recent) == 2
