import json
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from obol.cli.parser import Verbs, explained, plain, quicken
from tests.unit.cli.conftest import Terminal

Number = Annotated[int, typer.Option(min=1)]


class Colour(StrEnum):
    """Some words."""

    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (str, "text", "text"),
        (bool, True, True),
        (Colour, "red", Colour.RED),
        (Colour, Colour.RED, Colour.RED),
        (list[str], ("a", "b"), ["a", "b"]),
        (list[str], (), []),
    ],
)
def test_plain(annotation: Any, value: object, expected: object) -> None:
    """Text, flags, words of a list and lists of text are taken as they are."""
    found = plain(annotation, value)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, 1),
        (bool, "yes"),
        (int, 3),
        (Colour, "blue"),
        (Path, "x"),
        (list[str], "ab"),
        (list[Path], ("x",)),
        (list[str], (1,)),
    ],
)
def test_not_plain(annotation: Any, value: object) -> None:
    """Whatever has to be converted, or is wrong, is left to typer."""
    assert type(plain(annotation, value)) is object


def test_typer_converts_the_rest() -> None:
    """Numbers and paths come as what they are declared to be, and mistakes are told as ever."""
    app, seen = Verbs(), []

    @app.command()
    def one(number: Number = 2, path: Path | None = None, word: Colour = Colour.RED) -> None:
        """Look."""
        seen.append((number, path, word))

    @app.command()
    def two() -> None:
        """Be there, so that there is a group."""

    run = CliRunner().invoke
    assert run(app, ["one", "--number", "7", "--path", "x"]).exit_code == 0
    assert run(app, ["one"]).exit_code == 0
    assert seen == [(7, Path("x"), Colour.RED), (2, None, Colour.RED)]
    assert run(app, ["one", "--number", "0"]).exit_code == 2
    assert run(app, ["one", "--word", "blue"]).exit_code == 2


def test_other_versions_stay_as_they_are() -> None:
    """A parameter that keeps no converter is left alone."""
    parameter: Any = SimpleNamespace()

    assert quicken([parameter]) == [parameter]
    assert vars(parameter) == {}


@pytest.mark.parametrize(
    ("line", "what", "hint"),
    [
        ("stack upp", "there is no command `obol stack upp`", "did you mean `obol stack up`?"),
        ("stack pu", "there is no command `obol stack pu`", "did you mean `obol stack purge` or `obol stack up`?"),
        ("cahce", "there is no command `obol cahce`", "did you mean `obol cache`?"),
        ("up", "there is no command `obol up`", "did you mean `obol stack up`?"),
        ("status -q", "there is no command `obol status`", "did you mean `obol cache status` or `obol stack"),
        ("frobnicate", "there is no command `obol frobnicate`", "`obol --help` lists the commands"),
        ("stack up --bakend k3d", "`obol stack up` has no option --bakend", "did you mean `obol stack up --backend`?"),
        ("--no-prefetch stack up", "`obol` has no option --no-prefetch", "`obol stack up` has it"),
        ("--backend k3d stack up", "`obol` has no option --backend", "`obol stack init` and `obol stack up` have it"),
        ("stack down --yes", "`obol stack down` has no option --yes", "`obol stack down --help` lists the options"),
        ("cache status --nope", "`obol cache status` has no option --nope", "`obol cache status --help` lists the"),
        ("stack up --backend k3", "invalid value for '--backend': 'k3' is not one of 'auto', 'k3d'", "`obol stack up"),
        (
            "cache status -o yaml",
            "invalid value for '--output' / '-o': 'yaml' is not one of 'human', 'json'",
            "`obol cache status",
        ),
        ("-o xml cache status", "invalid value for '--output' / '-o': 'xml' is not one of", "`obol --help` tells"),
        ("cache logs -n many", "invalid value for '--lines' / '-n'", "`obol cache logs --help` tells"),
        ("cache stop more", "got unexpected extra argument(s) (more)", "`obol cache stop --help` tells"),
    ],
)
def test_what_was_meant(terminal: Terminal, line: str, what: str, hint: str) -> None:
    """Wrong usage is exit code 2, with what was wrong and what may have been meant, here or at another level."""
    assert terminal.run(line) == 2

    first, second, *_ = terminal.err.splitlines()
    assert first.startswith(f"error: {what}")
    assert second.startswith(f"  try: {hint}")
    assert terminal.out == ""


def test_as_json(terminal: Terminal) -> None:
    """As JSON the same has the same parts."""
    assert terminal.run("-o json stack upp") == 2
    told = json.loads(terminal.err)["error"]
    assert (told["hint"], told["exit_code"]) == ("did you mean `obol stack up`?", 2)


def test_no_command_as_json(terminal: Terminal) -> None:
    """Who asks for JSON and gives no command is not answered with a page for people."""
    assert terminal.run("-o json stack") == 2
    assert json.loads(terminal.err)["error"]["what"] == "no command is given"


def test_a_problem_without_a_context() -> None:
    """Where the parser does not tell which command it was at, its words are all there is."""

    class Problem(Exception):
        exit_code = 2

        def format_message(self) -> str:
            return "Nonsense."

        def show(self) -> None:
            raise NotImplementedError

    mistake = explained(Problem())

    assert mistake is not None
    assert str(mistake) == "Nonsense."
