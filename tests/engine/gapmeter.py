"""Run the command line with a meter on the event loop: `python -m tests.engine.gapmeter cache serve …`.

The processor time that the loop's thread spends in one callback is taken, not the time that passes: a busy machine
makes everything wait, yet nothing work more. Each new worst is appended to the file that GAP_FILE names, as a line with
milliseconds and what ran; emptying the file begins anew.
"""

import asyncio
import os
import time
from pathlib import Path

LEAST = 0.004
"""Seconds that are worth writing down."""

_run = asyncio.Handle._run


def install(file: Path) -> None:
    """Measure each callback of every event loop of this process from now on."""
    clock = time.thread_time

    def measured(handle: asyncio.Handle) -> None:
        callback = getattr(handle, "_callback", None)  # gone, if the handle is cancelled by what it runs
        before = clock()
        _run(handle)
        took = clock() - before
        if took >= LEAST:
            with file.open("a", encoding="utf-8") as lines:
                lines.write(f"{took * 1000:.1f} {_name(callback)}\n")

    asyncio.Handle._run = measured  # type: ignore[assignment, method-assign]  # the meter


def worst(file: Path) -> tuple[float, str]:
    """The longest callback since the file was emptied: milliseconds, and what it was."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    found = [(float(time_), what) for time_, _, what in (line.partition(" ") for line in lines)]
    return max(found, default=(0.0, "nothing of note"))


def _name(callback: object) -> str:
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return f"{task.get_name()}: {getattr(task.get_coro(), '__qualname__', '')}"
    return str(getattr(callback, "__qualname__", callback))[:200]


def main() -> None:
    """Measure, and be obol."""
    install(Path(os.environ["GAP_FILE"]))
    from obol.__main__ import main as obol  # noqa: PLC0415 - after the meter is there

    obol()


if __name__ == "__main__":
    main()
