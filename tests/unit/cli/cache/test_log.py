from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from obol.caches.builtin import log as enginelog
from obol.cli.cache import log as cachelog

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("log_format", "line"),
    [("human", "warning: odd\n"), ("json", '{"level": "warning", "event": "odd"}\n')],
)
def test_warnings(capsys: pytest.CaptureFixture[str], log_format: str, line: str) -> None:
    """A warning is written as the log is."""
    cachelog.warn_in_log("odd", log_format)

    assert capsys.readouterr().err == line


def test_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The last lines come first, and then what is appended."""
    log = tmp_path / "engine.log"
    log.write_text("a\nb\n")
    monkeypatch.setattr(enginelog, "follow", lambda _log, _waiting: iter(["c\n", "d"]))

    cachelog.follow(log, 1)

    assert capsys.readouterr().out == "b\nc\nd"


def test_kept_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is watched beside what the process does."""
    kept: list[Path] = []
    seen = threading.Event()

    def keep(path: Path, _waiting: object) -> None:
        kept.append(path)
        seen.set()

    monkeypatch.setattr(enginelog, "keep_small", keep)

    cachelog.keep_log_small(tmp_path)

    assert seen.wait(5)
    assert kept == [tmp_path]
