from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from obol.cli.options import speaker
from obol.cli.terminal.present import OutputFormat, Speaker

if TYPE_CHECKING:
    import typer


@pytest.mark.parametrize(
    ("before", "after", "joined"),
    [
        (None, (None, False, False), Speaker()),
        (Speaker(OutputFormat.JSON, verbose=True), (None, False, True), Speaker(OutputFormat.JSON, False, True)),
        (Speaker(quiet=True), (None, True, False), Speaker(verbose=True)),
        (Speaker(OutputFormat.JSON), (OutputFormat.HUMAN, True, False), Speaker(OutputFormat.HUMAN, True, False)),
    ],
)
def test_speaker(before: Speaker | None, after: tuple[OutputFormat | None, bool, bool], joined: Speaker) -> None:
    """What was said before the verb holds, unless something else is said after it."""
    context = cast("typer.Context", SimpleNamespace(obj=before))

    assert speaker(context, *after) == joined
