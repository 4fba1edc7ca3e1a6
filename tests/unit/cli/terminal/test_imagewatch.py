from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obol.cli.terminal.board import Board
from obol.cli.terminal.imagewatch import ImageWatch, engine_at
from obol.registry.control.api import ImageProgress, ProgressStatus
from tests.fakes.clock import FakeClock
from tests.fakes.control import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

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
