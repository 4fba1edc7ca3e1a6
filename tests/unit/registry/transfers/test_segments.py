from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.registry.settings import TransferSettings
from obol.registry.transfers.segments import Segment, SegmentMap, connections

FILL = TransferSettings(segment=10, segmented_above=15, connections_per_fill=6)


@pytest.mark.parametrize(
    ("size", "number"), [(0, 1), (1, 1), (15, 1), (16, 2), (20, 2), (21, 3), (60, 6), (61, 6), (10**12, 6)]
)
def test_large_blobs_get_a_connection_for_each_segment_up_to_the_limit(size: int, number: int) -> None:
    """A small blob is fetched by one connection, a large one by as many as there are segments, within the limit."""
    assert connections(size, FILL) == number


def test_segments_are_taken_in_order() -> None:
    """A blob is cut into equal segments; the last is as long as what is left."""
    segments = SegmentMap(size=25, length=10)

    assert [segments.take() for _ in range(4)] == [Segment(0, 10), Segment(10, 20), Segment(20, 25), None]
    assert segments.exhausted
    assert not segments.complete


def test_what_is_given_back_is_taken_first() -> None:
    """What a broken connection left over comes before anything new, the earliest bytes first."""
    segments = SegmentMap(size=100, length=10)
    first, second, _ = segments.take(), segments.take(), segments.take()
    assert first is not None
    assert second is not None

    segments.give_back(second)
    segments.give_back(Segment(4, first.stop))

    assert [segments.take() for _ in range(3)] == [Segment(4, 10), Segment(10, 20), Segment(30, 40)]


def test_an_empty_rest_is_not_given_back() -> None:
    """A segment whose bytes all came leaves nothing to take."""
    segments = SegmentMap(size=10, length=10)
    assert segments.take() == Segment(0, 10)

    segments.give_back(Segment(10, 10))

    assert segments.exhausted
    assert segments.take() is None


def test_a_resumed_blob_starts_at_its_frontier() -> None:
    """Bytes that are there already are not taken again."""
    segments = SegmentMap(size=25, length=10, frontier=12)

    assert [segments.take() for _ in range(3)] == [Segment(12, 22), Segment(22, 25), None]


def test_bytes_that_came_another_way_are_not_taken() -> None:
    """Where the upstream ignored ranges and sent more than a segment, the rest starts at the frontier."""
    segments = SegmentMap(size=30, length=10)
    segments.take()
    segments.give_back(Segment(5, 10))

    assert segments.wrote(0, 17)

    assert [segments.take() for _ in range(3)] == [Segment(17, 27), Segment(27, 30), None]


def test_a_rest_that_the_frontier_cut_is_taken_from_the_frontier() -> None:
    """Of what was given back only the bytes beyond the frontier are wanted."""
    segments = SegmentMap(size=20, length=20)
    segments.take()
    segments.give_back(Segment(0, 20))

    segments.wrote(0, 8)

    assert segments.take() == Segment(8, 20)


def test_nothing_is_left_when_all_came_another_way() -> None:
    """One plain answer that brought everything leaves nothing to take, whatever was given back before."""
    segments = SegmentMap(size=30, length=10)
    segments.take()
    segments.give_back(Segment(0, 10))
    before = segments.exhausted

    segments.wrote(0, 30)

    assert (before, segments.exhausted, segments.complete) == (False, True, True)
    assert segments.take() is None


def test_the_frontier_waits_for_the_gap() -> None:
    """Bytes beyond a gap do not move the frontier; what closes the gap moves it past all of them."""
    segments = SegmentMap(size=40, length=10)

    assert not segments.wrote(20, 25)
    assert not segments.wrote(25, 30)
    assert not segments.wrote(10, 15)
    assert segments.frontier == 0
    assert segments.wrote(0, 10)
    assert segments.frontier == 15
    assert segments.wrote(15, 20)
    assert segments.frontier == 30


def test_bytes_that_are_there_do_not_move_the_frontier() -> None:
    """The same bytes once more are no progress."""
    segments = SegmentMap(size=40, length=10)
    segments.wrote(0, 10)

    assert not segments.wrote(3, 10)
    assert segments.frontier == 10


def test_an_empty_blob_is_complete() -> None:
    """Nothing is nothing to download."""
    segments = SegmentMap(size=0, length=10)

    assert segments.complete
    assert segments.exhausted
    assert segments.take() is None


def test_a_blob_of_unknown_length() -> None:
    """Where the upstream has not said how long the blob is, it is complete only when its end has shown that."""
    segments = SegmentMap(size=None, length=10)
    assert segments.take() == Segment(0, 10)
    segments.wrote(0, 15)
    before = segments.complete
    assert segments.take() == Segment(15, 25)

    segments.size = 15

    assert (before, segments.complete) == (False, True)
    assert segments.whole() == Segment(0, 15)


def test_beyond() -> None:
    """What lies behind a gap is counted until the gap is closed."""
    segments = SegmentMap(100, 10)

    segments.wrote(20, 30)
    segments.wrote(30, 35)
    segments.wrote(50, 51)
    assert (segments.frontier, segments.beyond) == (0, 16)
    segments.wrote(0, 20)

    assert (segments.frontier, segments.beyond) == (35, 1)


moves = st.tuples(st.booleans(), st.integers(0, 7), st.integers(0, 15), st.booleans())


@dataclass
class Fetching:
    """A blob that several connections fetch; it checks that no byte comes twice."""

    segments: SegmentMap
    written: list[bool]
    taken: list[Segment] = field(default_factory=list)

    def move(self, *, more: bool, which: int, count: int, broken: bool) -> None:
        """Take another segment, or write `count` bytes of one; a broken connection gives back the rest."""
        if (more or not self.taken) and (segment := self.segments.take()) is not None:
            assert segment.start < segment.stop <= len(self.written)
            self.taken.append(segment)
            return
        segment = self.taken.pop(which % len(self.taken))
        middle = min(segment.start + count, segment.stop)
        if middle > segment.start:
            self.write(segment.start, middle)
        rest = Segment(middle, segment.stop)
        if broken:
            self.segments.give_back(rest)
        elif rest.start < rest.stop:
            self.taken.append(rest)

    def write(self, start: int, stop: int) -> None:
        assert not any(self.written[start:stop])
        self.written[start:stop] = [True] * (stop - start)
        before = self.segments.frontier
        moved = self.segments.wrote(start, stop)
        prefix = self.written.index(False) if False in self.written else self.segments.size
        assert self.segments.frontier == prefix
        assert moved == (prefix > before)


@given(st.lists(moves, max_size=60), st.integers(0, 60), st.integers(1, 12), st.integers(0, 20))
def test_every_byte_is_fetched_exactly_once(
    plan: list[tuple[bool, int, int, bool]], size: int, length: int, resumed: int
) -> None:
    """In whatever order segments are taken, partly written and given back: each byte comes once, and all of them do."""
    start = min(resumed, size)
    fetching = Fetching(SegmentMap(size, length, frontier=start), [position < start for position in range(size)])
    for more, which, count, broken in plan:
        if not fetching.segments.complete:
            fetching.move(more=more, which=which, count=count, broken=broken)
    while not fetching.segments.complete:
        fetching.move(more=True, which=0, count=length, broken=False)

    assert all(fetching.written)
    assert fetching.segments.exhausted
    assert fetching.segments.take() is None
