import threading
from pathlib import Path
from typing import cast

import pytest

from obol.caches.builtin import log
from obol.cli import serving
from obol.registry.settings import EngineSettings
from tests.unit.cli.conftest import Served

SETTINGS = cast("EngineSettings", None)


@pytest.mark.parametrize(
    ("log_format", "line"),
    [("human", "warning: odd\n"), ("json", '{"level": "warning", "event": "odd"}\n')],
)
def test_warnings(served: Served, capsys: pytest.CaptureFixture[str], log_format: str, line: str) -> None:
    """A warning is written as the log is."""
    assert serving.serve(SETTINGS, log_format, ["odd"]) == 7

    assert capsys.readouterr().err == line


def test_kept_small(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is watched beside what the process does."""
    kept: list[Path] = []
    seen = threading.Event()

    def keep(path: Path, _waiting: object) -> None:
        kept.append(path)
        seen.set()

    monkeypatch.setattr(log, "keep_small", keep)

    serving.serve(SETTINGS, "human", log_file=tmp_path)

    assert seen.wait(5)
    assert kept == [tmp_path]
