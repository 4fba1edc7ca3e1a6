from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from obol.cli.parameters import plain, quicken
from obol.cli.terminal.usage import Verbs

if TYPE_CHECKING:
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


def test_mistakes(terminal: Terminal) -> None:
    """A word that is not allowed is wrong usage, and those that are are told."""
    assert terminal.run("cache status -o yaml") == 2
    assert "'human', 'json'" in terminal.err
