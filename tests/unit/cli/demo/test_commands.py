import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obol.cli import main
from obol.cli.demo import commands as demo
from obol.demo.base import DemoSettings, Link, Result, Watcher
from obol.demo.chart import bars
from obol.demo.images import QUARTER
from obol.errors import Interrupted
from tests.unit.demo.test_base import result

RESULT = result(18.0, 12.0, 0.9, 1.0)


@dataclass
class Played:
    """What the command was told to play, and what it finds."""

    found: Result | BaseException
    settings: list[DemoSettings] = field(default_factory=list)

    def __call__(self, settings: DemoSettings, watcher: Watcher) -> Result:
        self.settings.append(settings)
        if isinstance(self.found, BaseException):
            raise self.found
        watcher.began("direct", 250_000_000)
        watcher.ended(self.found.phases[0])
        return self.found


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    """A demonstration that goes well."""
    played = Played(RESULT)
    monkeypatch.setattr(demo, "play", played)
    monkeypatch.setenv("COLUMNS", "80")
    return played


def test_result(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    """One chart, with the scale and the link, each number once; how it went on is on standard error."""
    assert main.run(["demo"]) == 0

    out, err = capsys.readouterr()
    assert out == "".join(f"{line}\n" for line in bars(RESULT.phases, 80)) + (
        "\n"
        "9 generated images in 49 layers, 250 MB: about a quarter of a real stack's\n"
        "bytes, on a link of 200 Mbit/s in all, 50 Mbit/s per connection, 20 ms.\n"
    )
    assert err == "direct (no cache): 250 MB\n  18.0 s, 250 MB from upstream\n"


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", DemoSettings(250_000_000, Link())),
        (
            "--rate 100M --connection-rate 10M --latency 50ms --size 10%",
            DemoSettings(100_072_000, Link(100e6, 10e6, 0.05)),
        ),
    ],
)
def test_options(played: Played, options: str, settings: DemoSettings) -> None:
    """Each option says what the link or the images are; without any it is a quarter of a real stack, a usual line."""
    assert main.run(["demo", "-q", *options.split()]) == 0

    assert played.settings == [settings]
    assert pytest.approx(QUARTER, rel=0.01) == 250_000_000


def test_json(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    """The result for programs, and nothing else, is on standard output."""
    assert main.run(["demo", "-o", "json", "-q"]) == 0

    out, err = capsys.readouterr()
    assert [phase["name"] for phase in json.loads(out)["phases"]] == ["direct", "cold", "warm", "offline"]
    assert err == ""


def test_chart(played: Played, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The picture is drawn into the file, and the person is told."""
    chart = tmp_path / "demo.svg"

    assert main.run(["demo", "--chart", str(chart)]) == 0

    assert chart.read_text(encoding="utf-8").startswith("<svg ")
    assert f"The chart is in {chart}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "none/demo.svg", "pipe", "device"])
def test_a_chart_that_cannot_be_written(
    played: Played, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    """A bad name for the chart is told before anything is played."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/full")

    assert main.run(["demo", "--chart", str(tmp_path / name)]) == 1

    assert played.settings == []
    assert "--chart FILE" in capsys.readouterr().err


def test_a_chart_whose_disk_is_full(
    played: Played, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chart that cannot be written in the end is an error, after the result was shown."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("obol.machine.regular.write_all", full)

    assert main.run(["demo", "--chart", str(tmp_path / "full")]) == 1

    out, err = capsys.readouterr()
    assert "offline" in out
    assert "No space left" in err


def test_falling_short(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    """What the cache promises and this run did not show is said; it is no failure."""
    played.found = result(18.0, 19.0, 0.9, 1.0)

    assert main.run(["demo"]) == 0

    out, err = capsys.readouterr()
    assert "1.1 times slower" in out
    assert "warning: the cold pull took 19.0 s, no less than the direct one (18.0 s)" in err


@pytest.mark.parametrize("line", ["--rate 1", "--connection-rate x", "--latency 1h", "--size 0"])
def test_bad_values(played: Played, capsys: pytest.CaptureFixture[str], line: str) -> None:
    """A value that makes no sense is wrong usage, and names its option."""
    assert main.run(["demo", *line.split()]) == 2

    assert played.settings == []
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("width", [60, 80, 120])
def test_widths(
    played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    """What is printed fits the terminal, and no line is a rest of the one before."""
    monkeypatch.setenv("COLUMNS", str(width))

    assert main.run(["demo", "-q"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= min(width, 80)
    assert min(len(line) for line in lines if line) > 5


def test_interrupted(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    """An interrupt has the exit code of one, and is no error: the person knows who it was."""
    played.found = Interrupted("interrupted", why="nothing is left behind")

    assert main.run(["demo"]) == 130

    assert capsys.readouterr().err == "Interrupted. Nothing is left behind.\n"


def test_a_terminal_without_blocks(
    played: Played, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the terminal cannot show block characters, bars are made of others."""
    monkeypatch.setattr(type(sys.stdout), "encoding", "ascii", raising=False)

    assert main.run(["demo"]) == 0

    assert capsys.readouterr().out.isascii()
