from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from obol.cli.parser import Verbs
from obol.cli.terminal.present import OutputFormat, Speaker
from obol.cli.verb import verb


@dataclass(frozen=True)
class Options:
    """Two options."""

    name: Annotated[str, typer.Option("--name")] = "none"
    tag: Annotated[list[str] | None, typer.Option("--tag")] = None


def _called(before: Speaker | None, words: str) -> tuple[Speaker, str, Options]:
    """What a verb gets."""
    app, got = Verbs(), []

    @verb(app)
    def run(say: Speaker, image: str, options: Options) -> None:
        got.append((say, image, options))

    typer.main.get_command(app).main(words.split(), obj=before, standalone_mode=False)
    return got[0]


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        (None, "", Speaker()),
        (Speaker(OutputFormat.JSON, verbose=True), "-q", Speaker(OutputFormat.JSON, False, True)),
        (Speaker(quiet=True), "-v", Speaker(verbose=True)),
        (Speaker(OutputFormat.JSON), "-o human -v", Speaker(OutputFormat.HUMAN, True, False)),
    ],
)
def test_speaker(before: Speaker | None, after: str, joined: Speaker) -> None:
    """What was said before the verb holds, unless something else is said after it."""
    assert _called(before, f"alpine {after}")[0] == joined


def test_options_of_a_dataclass() -> None:
    """The fields of a dataclass are options beside the verb's own, and come to it as one value."""
    _say, image, options = _called(None, "--tag a alpine --tag b")

    assert (image, options) == ("alpine", Options(tag=["a", "b"]))
