import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from obol.cli.terminal.bars import STALLED, layout, left
from obol.cli.terminal.board import Board, Finished, ImageWatch, engine_at
from obol.registry.control.api import ImageProgress, ProgressStatus
from tests.fakes.clock import FakeClock
from tests.fakes.control import FakeEngine

LITELLM, PROMETHEUS, OTHER = "ghcr.io/a/litellm:1", "docker.io/prom/prometheus:2", "docker.io/library/other:3"
ALL = "All images ({} of {} in the cache)"


def expecting(*names: str, others: tuple[str, ...] = ()) -> Board:
    """A board that was told which images come."""
    board = Board(names, others)
    board.expect(names)
    return board


def image(
    name: str, present: int, total: int | None, *, own: tuple[int, int] | None = None, transfers: int | None = None
) -> ImageProgress:
    """What an engine says of an image; unless told, none of it is shared, and what is not complete is on its way."""
    own_present, own_total = own or (present, total or 0)
    running = int(total is not None and 0 < present < total) if transfers is None else transfers
    return ImageProgress(name, total, present, present, own_total, own_present, running)


def status(*images: ImageProgress, pid: int = 7) -> ProgressStatus:
    """All that it says."""
    return ProgressStatus(pid, images, ())


def test_from_nothing_to_all() -> None:
    """Sizes become known, bytes come, images come in; each has its row while it is under way, and all have one."""
    board = expecting(LITELLM, PROMETHEUS)
    board.take(status(image(LITELLM, 0, None), image(PROMETHEUS, 0, None)), 0.0)
    assert board.rows(0.0) == []

    board.take(status(image(LITELLM, 0, 1000, transfers=1), image(PROMETHEUS, 0, None)), 1.0)
    one, overall = board.rows(1.0)
    assert (one.name, one.percent, one.speed) == (LITELLM, 0, 0.0)
    assert (overall.name, overall.percent, left(overall)) == (ALL.format(0, 2), None, "size unknown")

    board.take(status(image(LITELLM, 500, 1000), image(PROMETHEUS, 0, 500)), 2.0)
    one, overall = board.rows(2.0)
    assert (one.percent, left(one)) == (50, "about 2 s")
    assert (overall.percent, overall.total) == (33, 1500)

    board.take(status(image(LITELLM, 1000, 1000), image(PROMETHEUS, 250, 500)), 3.0)
    one, overall = board.rows(3.0)
    assert one.name == PROMETHEUS
    assert (overall.name, overall.percent) == (ALL.format(1, 2), 83)
    assert board.finished() == [Finished(LITELLM, 1000, 1000, 2.0, whole=False)]
    assert board.finished() == []

    board.take(status(image(LITELLM, 1000, 1000), image(PROMETHEUS, 500, 500)), 4.0)
    (overall,) = board.rows(4.0)
    assert (overall.name, overall.percent, left(overall)) == (ALL.format(2, 2), 100, "complete")


def test_what_was_there_was_not_fetched() -> None:
    """A warm cache has all at once: one row says so, nothing counts as fetched, and no speed is claimed."""
    board = expecting(LITELLM)

    for second in range(4):
        board.take(status(image(LITELLM, 1000, 1000)), float(second))

    (overall,) = board.rows(3.0)
    assert (overall.percent, overall.speed) == (100, 0.0)
    assert board.finished() == []


def test_a_size_that_becomes_known_late() -> None:
    """Bytes that were there before the size was known are no speed."""
    board = expecting(LITELLM)
    board.take(status(image(LITELLM, 0, None)), 0.0)

    board.take(status(image(LITELLM, 900, 1000, transfers=1)), 1.0)
    board.take(status(image(LITELLM, 910, 1000)), 2.0)

    assert board.rows(2.0)[0].speed == 5.0
    board.take(status(image(LITELLM, 1000, 1000)), 3.0)
    assert board.finished() == [Finished(LITELLM, 1000, 100, 2.0, whole=False)]


def test_what_comes_between_two_readings() -> None:
    """An image that is there at the next reading took the time between the two, and not none."""
    board = expecting(LITELLM)
    board.take(status(image(LITELLM, 100, 1000, transfers=0)), 1.0)

    board.take(status(image(LITELLM, 1000, 1000)), 2.0)

    assert board.finished() == [Finished(LITELLM, 1000, 900, 1.0)]


def test_stalled() -> None:
    """What brings nothing has no estimate; without a transfer it waits. It goes on as if nothing had been."""
    board = expecting(LITELLM)
    board.take(status(image(LITELLM, 0, 1000, transfers=1)), 0.0)
    board.take(status(image(LITELLM, 100, 1000)), 1.0)

    board.take(status(image(LITELLM, 100, 1000)), 1.0 + STALLED)
    assert [left(row) for row in board.rows(1.0 + STALLED)] == ["stalled", "stalled"]
    board.take(status(image(LITELLM, 100, 1000, transfers=0)), 2.0 + STALLED)
    assert left(board.rows(2.0 + STALLED)[0]) == "waiting"
    board.take(status(image(LITELLM, 200, 1000)), 3.0 + STALLED)
    assert left(board.rows(3.0 + STALLED)[0]).startswith("about ")


def test_an_engine_that_was_restarted() -> None:
    """Another process may have less: nothing counts twice, nothing goes below nothing."""
    board = expecting(LITELLM)
    board.take(status(image(LITELLM, 0, 1000, transfers=1)), 0.0)
    board.take(status(image(LITELLM, 800, 1000)), 1.0)
    board.take(None, 2.0)
    assert board.rows(2.0) == []

    board.take(status(image(LITELLM, 300, 1000), pid=8), 3.0)
    one, overall = board.rows(3.0)
    assert (one.percent, overall.percent) == (30, 30)
    board.take(status(image(LITELLM, 1000, 1000), pid=8), 4.0)

    assert board.finished() == [Finished(LITELLM, 1000, 1500, 4.0)]
    assert board.rows(4.0)[0].percent == 100


def test_a_total_that_changes() -> None:
    """A tag that moved makes the image another one: its bytes so far are no speed, and percents stay within bounds."""
    board = expecting(LITELLM)
    board.take(status(image(LITELLM, 0, 1000, transfers=1)), 0.0)
    board.take(status(image(LITELLM, 900, 1000)), 1.0)

    board.take(status(image(LITELLM, 2000, 9000)), 2.0)

    one, overall = board.rows(2.0)
    assert (one.percent, overall.percent) == (22, 22)
    assert one.speed == 450.0


def test_shared_layers() -> None:
    """What two images share counts once in all."""
    board = expecting(LITELLM, PROMETHEUS)
    board.take(status(image(LITELLM, 0, 1000, transfers=1), image(PROMETHEUS, 0, 1000, own=(0, 0))), 0.0)

    board.take(status(image(LITELLM, 500, 1000), image(PROMETHEUS, 500, 1000, own=(0, 0))), 1.0)

    *_, overall = board.rows(1.0)
    assert (overall.present, overall.total, overall.speed) == (500, 1000, 500.0)


def test_others() -> None:
    """An image that is not waited for counts from the moment on when it comes."""
    board = expecting(LITELLM, others=(OTHER, LITELLM))
    assert board.names == (LITELLM, OTHER)
    board.take(status(image(LITELLM, 0, 1000, transfers=1), image(OTHER, 0, 500)), 0.0)
    assert board.rows(0.0)[-1].total == 1000

    board.take(status(image(LITELLM, 10, 1000), image(OTHER, 10, 500)), 1.0)

    assert [row.name for row in board.rows(1.0)] == [LITELLM, OTHER, ALL.format(0, 2)]
    assert board.rows(1.0)[-1].total == 1500


def test_without_fetching_ahead() -> None:
    """Where only nodes pull, an image that none has asked for may never be: it does not make the total unknown."""
    board = Board([LITELLM, PROMETHEUS], foretold=False)
    board.take(status(image(LITELLM, 0, 1000, transfers=1), image(PROMETHEUS, 0, None)), 0.0)

    board.take(status(image(LITELLM, 500, 1000), image(PROMETHEUS, 0, None)), 1.0)

    overall = board.rows(1.0)[-1]
    assert (overall.name, overall.percent) == (ALL.format(0, 1), 50)


def test_what_nodes_have() -> None:
    """An image that nodes have is not fetched: it is not waited for, and its size is nobody's business."""
    board = Board([LITELLM, PROMETHEUS])
    board.take(status(image(LITELLM, 0, 1000, transfers=1), image(PROMETHEUS, 0, None)), 0.0)
    board.expect([LITELLM])

    board.take(status(image(LITELLM, 500, 1000), image(PROMETHEUS, 0, None)), 1.0)

    overall = board.rows(1.0)[-1]
    assert (overall.name, overall.percent) == (ALL.format(0, 1), 50)
    board.expect([])
    assert board.rows(1.0)[-1].percent == 50  # what has begun counts


def test_before_it_is_known_what_comes() -> None:
    """What is in the cache is not shown as if somebody waited for it."""
    board = Board([LITELLM])

    board.take(status(image(LITELLM, 1000, 1000)), 0.0)

    assert board.rows(0.0) == []
    board.expect([LITELLM])
    assert board.rows(0.0)[0].percent == 100


def test_nothing_is_known() -> None:
    """Where nothing is known there is nothing to draw, and an image that was not asked for is passed over."""
    board = Board([LITELLM], foretold=False)
    assert board.rows(0.0) == []

    board.take(status(image(LITELLM, 0, None), image("a/b:1", 5, 5)), 0.0)

    assert board.rows(0.0) == []


def test_drawn() -> None:
    """A board is laid out as it is."""
    board = expecting(LITELLM)
    board.take(status(image(LITELLM, 0, 1000, transfers=1)), 0.0)
    board.take(status(image(LITELLM, 250, 1000)), 1.0)

    assert layout(board.rows(1.0), 60, 24) == [
        f"  {LITELLM}",
        "  ━━━─────────  25%     250/1000 B     250 B/s  about 3 s",
        "  All images (0 of 1 in the cache)",
        "  ━━━─────────  25%     250/1000 B     250 B/s  about 3 s",
    ]


NAME = "ghcr.io/a/b:1"


@dataclass
class Engine:
    """Says that a hundred bytes more are there each time."""

    asked: list[tuple[str, ...]] = field(default_factory=list)

    def __call__(self, images: Sequence[str], /) -> ProgressStatus | None:
        self.asked.append(tuple(images))
        present = 100 * len(self.asked)
        return ProgressStatus(7, (ImageProgress(NAME, 1000, present, present, 1000, present, 1),), ())


def test_look() -> None:
    """A reading asks about the board's images, and is told of when it was taken."""
    clock, engine, board, told = FakeClock(), Engine(), Board([NAME]), []
    watch = ImageWatch(board, engine, clock, lambda: told.append(len(engine.asked)))

    watch.look()
    clock.advance(1.0)
    watch.look()

    assert (engine.asked, told) == ([(NAME,), (NAME,)], [1, 2])
    assert (board.rows(clock.now)[0].present, board.rows(clock.now)[0].speed) == (200, 100.0)


def test_running() -> None:
    """It looks again and again while the block runs, and not any more afterwards."""
    engine, seen = Engine(), threading.Event()

    def looked() -> None:
        if len(engine.asked) >= 3:
            seen.set()

    watch = ImageWatch(Board([NAME]), engine, FakeClock(), looked, 0.001)

    with watch.running():
        assert seen.wait(1.5)

    count = len(engine.asked)
    assert not [thread for thread in threading.enumerate() if thread.name == "images"]
    assert len(engine.asked) == count


def test_an_engine_by_its_store(store: Path) -> None:
    """The engine of a store is asked for some platforms; where none runs, or an older one, it says nothing."""
    ask = engine_at(store, ("linux/arm64",))
    assert ask([NAME]) is None

    with FakeEngine(store, answers={"POST /progress": (200, b'{"pid":1,"images":[],"transfers":[]}')}) as engine:
        assert ask([NAME]) == ProgressStatus(1, (), ())
        engine.answers["POST /progress"] = (404, b'{"error":"there is nothing at this path"}')
        assert ask([NAME]) is None

    assert engine.asked[0] == ("POST /progress", b'{"images":["ghcr.io/a/b:1"],"platforms":["linux/arm64"]}')
