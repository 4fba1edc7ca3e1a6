import contextlib
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest
import structlog

from obol.machine import logs
from tests.fakes.clock import FakeClock

NASTY = "name\x1b[31m\r\nforged: line\x00\u2028\u202eend"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def written(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines on standard error; there is nothing on standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    return str(err).splitlines()


def fail(text: str) -> None:
    """Raise."""
    raise ValueError(text)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON an event is one line with its values, its level, and the time in UTC."""
    logs.configure("json")

    logs.get().info("blob fetched", bytes=5)

    (line,) = written(capsys)
    told = json.loads(line)
    assert (told["event"], told["bytes"], told["level"]) == ("blob fetched", 5, "info")
    assert told["timestamp"].endswith("Z")


def test_human(capsys: pytest.CaptureFixture[str]) -> None:
    """For people an event is one line of text, without colours where nobody looks."""
    logs.configure("human")

    logs.get().warning("refused", why="no such thing", status=404)

    (line,) = written(capsys)
    assert "refused" in line
    assert "why='no such thing'" in line
    assert "status=404" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("style", ["json", "human"])
def test_no_forged_lines(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What others sent cannot end a line, colour it, or turn it around."""
    logs.configure(style)

    logs.get().warning("refused", why=NASTY, other="\x1b[31m", listed=[NASTY], raw=NASTY.encode())
    logging.getLogger("aiohttp.server").error("bad request: %s", NASTY)

    lines = capsys.readouterr().err.split("\n")[:-1]
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("style", ["json", "human"])
def test_libraries(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What libraries have to say goes the same way, from a warning on."""
    logs.configure(style)

    logging.getLogger("aiohttp").info("chatter")
    logging.getLogger("aiohttp").warning("trouble %d", 5)

    (line,) = written(capsys)
    assert "trouble 5" in line
    assert style == "human" or json.loads(line)["level"] == "warning"


@pytest.mark.parametrize("style", ["json", "human"])
def test_library_exception(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of a library comes with its traceback, which is what is needed to mend it."""
    logs.configure(style)
    try:
        fail("the cause")
    except ValueError:
        logging.getLogger("asyncio").exception("task failed")

    text = capsys.readouterr().err
    assert "the cause" in text
    assert "Traceback" in text
    if style == "json":
        assert "Traceback" in json.loads(text)["exception"]


@pytest.mark.parametrize("style", ["json", "human"])
def test_own_exception(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """So does an error of ours."""
    logs.configure(style)
    try:
        fail("the cause")
    except ValueError:
        logs.get().exception("broken")

    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("style", ["json", "human"])
def test_no_local_variables(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback shows no values of variables: a token may be among them."""
    logs.configure(style)
    secret = f"hunter{len(style) // len(style) + 1}"
    try:
        fail(str(len(secret)))
    except ValueError:
        logging.getLogger("aiohttp.server").exception("failed")
        logs.get().exception("failed")

    assert secret not in capsys.readouterr().err


def test_traceback_cannot_forge_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """What others sent may be in an error's text: no line of a traceback looks like an event of its own."""
    logs.configure("human")
    try:
        fail("bad\n2026-01-01T00:00:00Z [info] forged\x1b[31m")
    except ValueError:
        logging.getLogger("asyncio").exception("task failed")

    first, *others = written(capsys)
    assert "task failed" in first
    assert all(line.startswith("  ") or not line for line in others)
    assert all(line.isprintable() for line in others)


def test_level(capsys: pytest.CaptureFixture[str]) -> None:
    """Events below the level are not written."""
    logs.configure("json", logging.WARNING)

    logs.get().info("chatter")
    logs.get().warning("trouble")

    (line,) = written(capsys)
    assert json.loads(line)["event"] == "trouble"


def test_again(capsys: pytest.CaptureFixture[str]) -> None:
    """The last word counts, also for a logger that was handed out before."""
    logger = logs.get()
    logs.configure("human")
    logs.configure("json")

    logger.info("hello")

    (line,) = written(capsys)
    assert json.loads(line)["event"] == "hello"


@pytest.mark.parametrize("style", ["json", "human"])
def test_a_log_that_takes_nothing(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told while the log's disk is full is lost, and nothing fails for it."""
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), line_buffering=True)
    monkeypatch.setattr(sys, "stderr", full)
    logs.configure(style)

    logs.get().info("blob fetched")
    logging.getLogger("somebody").warning("else")

    with pytest.raises(OSError, match="No space left"):
        full.write("a line\n")
    with contextlib.suppress(OSError):
        full.close()


def test_without_rich() -> None:
    """The engine starts without what draws tables for people, and a program that draws some can load it afterwards."""
    program = "import sys, obol.machine.logs; assert not any('rich' in name for name in sys.modules); import rich.table"

    subprocess.run([sys.executable, "-c", program], check=True)


def test_seldom(capsys: pytest.CaptureFixture[str]) -> None:
    """What others cause again and again is told at once, then ever more seldom, with the number of those left out."""
    logs.configure("json")
    clock = FakeClock()
    seldom = logs.Seldom(clock)
    times = []

    for _ in range(3000):
        seldom.warning("bad requests")
        times += [(clock.now - 1000.0, json.loads(line).get("left_out", 0)) for line in written(capsys)]
        clock.advance(0.1)

    pauses = [after - before for (before, _), (after, _) in pairwise(times)]
    assert times[0] == (0.0, 0)
    assert min(pauses) >= 1.0
    assert [round(pause) for pause in pauses[:7]] == [1, 2, 4, 8, 16, 32, 60]
    assert sum(left_out + 1 for _, left_out in times[1:]) == pytest.approx(sum(pauses) * 10, abs=2)


def test_seldom_by_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """One kind of trouble, or one registry's, does not hide another; and after a quiet time it is told at once."""
    logs.configure("json")
    clock = FakeClock()
    seldom = logs.Seldom(clock)

    for event, registry in (("a", ""), ("b", ""), ("a", "ghcr.io"), ("a", "quay.io"), ("a", "")):
        seldom.warning(event, registry=registry)
    assert len(written(capsys)) == 4
    clock.advance(logs.LONGEST_PAUSE + 1.0)
    seldom.warning("a")
    clock.advance(1.0)
    seldom.warning("a")

    assert [json.loads(line).get("left_out") for line in written(capsys)] == [1, None]


def test_failure_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Of an exception that a client may have caused the place is told, and nothing of what it says."""
    logs.configure("human")
    try:
        fail("s3cr3t")
    except ValueError as problem:
        logs.Seldom(FakeClock()).failure("request failed", problem)

    (line,) = written(capsys)
    assert "ValueError" in line
    assert "test_logs.py" in line
    assert "fail" in line
    assert "s3cr3t" not in line


@pytest.mark.parametrize("style", ["json", "human"])
def test_libraries_without_their_words(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where others send us requests, a library's complaint is told with its place, seldom, and without its words."""
    logs.configure(style)
    logs.hide_words_of_libraries(logs.Seldom(FakeClock()))

    for _ in range(100):
        logging.getLogger("aiohttp.server").warning("Invalid request: %s", "s3cr3t")
        logging.getLogger("aiohttp.server").info("s3cr3t")
        try:
            fail("s3cr3t")
        except ValueError:
            logging.getLogger("asyncio").exception("task failed: s3cr3t")

    warning, failed = written(capsys)
    assert "aiohttp.server" in warning
    assert "ValueError" in failed
    assert "test_logs.py" in failed
    assert "s3cr3t" not in warning + failed


def test_what_goes_on_all_the_time_is_told_sparingly(capsys: pytest.CaptureFixture[str]) -> None:
    """A burst is told line by line; then a line now and then tells how many were left out, each event by itself."""
    logs.configure("json")
    clock = FakeClock()
    sparing = logs.Sparing(clock)
    for number in range(int(logs.SPARING_BURST) + 7):
        sparing.info("blob fetched", bytes=number)
    sparing.warning("blob not fetched")
    clock.advance(logs.SPARING_PAUSE)
    sparing.info("blob fetched", bytes=0)

    lines = [json.loads(line) for line in written(capsys)]

    assert len(lines) == logs.SPARING_BURST + 2
    assert lines[-2]["event"] == "blob not fetched"
    assert lines[-1]["left_out"] == 7
