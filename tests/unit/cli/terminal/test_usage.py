from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from obol.cli.terminal.usage import explained

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Terminal


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
