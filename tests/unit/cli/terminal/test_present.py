import json
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.cli.terminal.present import AsIs, OutputFormat, Speaker, Table, counted, size, span, speed, table_lines, tilde
from obol.errors import Interrupted, ObolError, SettingsError
from tests.unit.cli.conftest import Screen

JSON = Speaker(OutputFormat.JSON)


@dataclass(frozen=True, slots=True)
class Thing:
    """A result."""

    name: str
    sizes: tuple[int, ...] = ()


def test_result_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Text and tables go to standard output; numbers stand to the right, and no line ends with blanks."""
    table = Table(("Name", ">Count"), (("[bold]a", "1"), ("b", "20,000")))

    Speaker().result(Thing("x"), lambda: ["Here:", table])

    assert capsys.readouterr() == ("Here:\nName      Count\n[bold]a       1\nb        20,000\n", "")


def test_result_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as JSON is the value, and the text is not even made."""

    def never() -> list[str | Table]:
        raise AssertionError

    JSON.result(Thing("x", (1, 2)), never)

    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"name": "x", "sizes": [1, 2]}, "")


def test_long_cells_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody looks, a long line is not wrapped at 80 columns."""
    Speaker().result(None, lambda: [Table(("A", "B"), (("x" * 70, "y" * 40),))])

    assert "x" * 70 + "  " + "y" * 40 in capsys.readouterr().out


def test_results_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are folded between words, tables in the columns of words: no URL or path is ever broken."""
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    url, path = "http://127.0.0.1:4000/v1/models", "/home/ada/.local/state/obol/registry-cache/builtin"
    table = Table(("Name", "Where", "Note"), (("litellm", url, "as it was told a while ago"),))

    Speaker().result(None, lambda: [f"LiteLLM answers at {url}", f"    all is in {path} and stays", table])

    lines = screen.getvalue().splitlines()
    assert lines[:5] == ["LiteLLM answers at", url, "    all is in", f"    {path}", "    and stays"]
    assert [line for line in lines[5:] if url in line] != []
    assert "litellm" in screen.getvalue()
    assert max(len(line) for line in lines[5:]) < 40 + len(url)


def test_notes(capsys: pytest.CaptureFixture[str]) -> None:
    """Notes go to standard error; who wants quiet still hears of what must not be missed."""
    Speaker().note("hello")
    Speaker(quiet=True).note("nothing")
    Speaker(quiet=True).warn("take care")

    Speaker(OutputFormat.JSON, quiet=True).warn("it is in the result")

    assert capsys.readouterr() == ("", "hello\ntake care\n")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            ObolError("it failed", why="first\nsecond", hint="do this"),
            "error: it failed\n  why: first\n       second\n  try: do this\n",
        ),
        (ObolError("it failed"), "error: it failed\n"),
        (
            SettingsError(("--a x", "--b y")),
            (
                "error: 2 settings cannot be used\n  - --a x\n  - --b y\n"
                "  try: correct what is named above, or remove it to use the default\n"
            ),
        ),
    ],
)
def test_error_for_people(capsys: pytest.CaptureFixture[str], error: ObolError, text: str) -> None:
    """An error says what failed, why, and what to do next, as far as that is known; of settings, each problem."""
    Speaker().error(error)

    assert capsys.readouterr() == ("", text)


def test_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is no error: what it means is said in sentences; programs get an object as ever."""
    Speaker().error(Interrupted("interrupted", why="nothing is left behind"))
    Speaker().error(Interrupted("nothing was removed"))
    JSON.error(Interrupted("interrupted"))

    first, second, third = capsys.readouterr().err.splitlines()
    assert [first, second] == ["Interrupted. Nothing is left behind.", "Nothing was removed."]
    assert json.loads(third)["error"]["exit_code"] == 130


def test_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """An error as JSON goes to standard error, whole."""
    JSON.error(SettingsError(("--a x",)))

    out, err = capsys.readouterr()
    error = json.loads(err)["error"]
    assert out == ""
    assert (error["problems"], error["exit_code"], error["code"]) == (["--a x"], 2, "settings")


def stand_before(monkeypatch: pytest.MonkeyPatch, *, no_colour: str = "1") -> Screen:
    """Make standard error a terminal of 40 columns; pytest would take it back if a fixture did."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", no_colour)
    return screen


@pytest.mark.parametrize(("no_colour", "start"), [("", "\x1b[1;31merror:\x1b[0m "), ("1", "error: ")])
def test_colour(monkeypatch: pytest.MonkeyPatch, no_colour: str, start: str) -> None:
    """On a terminal an error is red, unless NO_COLOR is set."""
    screen = stand_before(monkeypatch, no_colour=no_colour)

    Speaker().error(ObolError("x"))

    assert screen.getvalue().startswith(start)


def test_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal lines are folded between words; a word that is too long, such as a path, stays whole."""
    screen = stand_before(monkeypatch)

    Speaker().error(ObolError("it failed", why=f"because of /{'x' * 50} which is long", hint="do this"))
    Speaker().note("a note that is longer than forty columns too")

    assert screen.getvalue().splitlines() == [
        "error: it failed",
        "  why: because of",
        f"       /{'x' * 50}",
        "       which is long",
        "  try: do this",
        "a note that is longer than forty columns",
        "too",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (300 << 20, "300 MiB"),
        (12 << 30, "12.0 GiB"),
        (5 << 50, "5120 TiB"),
    ],
)
def test_size(count: int, text: str) -> None:
    """Sizes have three digits or so, and binary units."""
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (0.4, "0 s"), (59, "59 s"), (7380, "2 h 3 min"), (90061, "1 d 1 h"), (86400, "1 d")],
)
def test_span(seconds: float, text: str) -> None:
    """Lengths of time have the two largest units."""
    assert span(seconds) == text


def test_speed() -> None:
    """Speeds are sizes a second, also where no time has passed."""
    assert [speed(3 << 20, 2.0), speed(10, 0.0)] == ["1.5 MiB/s", "9.8 KiB/s"]


def test_counted() -> None:
    """One thing has no s."""
    assert [counted(number, "blob") for number in (0, 1, 1200)] == ["0 blobs", "1 blob", "1,200 blobs"]


def test_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    """The home directory is ~, and only it."""
    monkeypatch.setenv("HOME", "/home/ada")

    assert tilde("/home/ada/x") == "~/x"
    assert tilde("/home/adam/x") == "/home/adam/x"
    monkeypatch.setenv("HOME", "/")
    assert tilde("/x") == "/x"


@pytest.mark.parametrize(("colours", "shown"), [(True, "\x1b[2m  │ pulling\x1b[0m\n"), (False, "  │ pulling\n")])
def test_line_of_a_program(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, colours: bool, shown: str
) -> None:
    """What other programs say has a bar before it, dimmed on a terminal that may have colours."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "" if colours else "1")

    Speaker(verbose=True).child("pulling")

    assert capsys.readouterr().err == shown


def test_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What somebody pastes is not folded, however narrow the terminal is."""
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", screen)
        Speaker().result(None, lambda: [AsIs("one line that is longer\nand another one of many words")])

    assert screen.getvalue() == "one line that is longer\nand another one of many words\n"


URL = "http://127.0.0.1:4000/v1/models"
TITLES = ("Name", ">Ready", "Where", "Note")
ROWS = (("litellm", "1 of 1", URL, "as it was told a while ago"), ("prometheus", "0 of 1", "", ""))


def test_room_for_all() -> None:
    """Columns are as wide as their longest cell; numbers stand to the right, and no line ends with blanks."""
    assert table_lines((">Count", "Name"), (("1", "a"), ("20,000", "b c")), 80) == [
        " Count  Name",
        "     1  a",
        "20,000  b c",
    ]


def test_folded_between_words() -> None:
    """Where there is too little room, the widest columns give way, and words stay whole."""
    assert table_lines(TITLES, ROWS, 70) == [
        "Name         Ready  Where                            Note",
        "litellm     1 of 1  http://127.0.0.1:4000/v1/models  as it was told a",
        "                                                     while ago",
        "prometheus  0 of 1",
    ]


@pytest.mark.parametrize("width", [1, 20, 40, 60])
def test_too_narrow(width: int) -> None:
    """What people copy is in one piece on any terminal."""
    assert URL in "\n".join(table_lines(TITLES, ROWS, width))


@given(
    rows=st.lists(st.tuples(st.text("ab ", max_size=30), st.text("cd/ ", max_size=30)), max_size=5),
    width=st.integers(0, 80),
)
def test_nothing_is_lost(rows: list[tuple[str, str]], width: int) -> None:
    """Every word of every cell is there, whatever the width."""
    lines = table_lines(("X", "Y"), rows, width)

    words = sorted(word for line in lines for word in line.split())
    assert words == sorted(word for row in (("X", "Y"), *rows) for cell in row for word in cell.split())
