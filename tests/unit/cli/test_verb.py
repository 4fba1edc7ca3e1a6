import asyncio
import os
import signal
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from obol.cli.parser import Verbs
from obol.cli.terminal.present import OutputFormat, Speaker
from obol.cli.verb import run, verb
from obol.errors import Interrupted


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


@pytest.fixture
def say() -> Speaker:
    """Somebody who talks."""
    return Speaker(OutputFormat.HUMAN)


@pytest.mark.parametrize(("words", "said"), [((), ""), (("half of it is there",), "half of it is there")])
def test_run(say: Speaker, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    """What is done gives its result; where Ctrl-C ends it, what that means is said, and it ends the verb too."""

    async def done(*, interrupted: bool) -> int:
        if interrupted:
            raise KeyboardInterrupt
        return 7

    assert run(say, done(interrupted=False), *words) == 7
    assert capsys.readouterr().err == ""
    with pytest.raises(KeyboardInterrupt if not words else Interrupted) as caught:
        run(say, done(interrupted=True), *words)
    assert getattr(caught.value, "why", "") == said
    with pytest.raises(Interrupted):
        run(Speaker(OutputFormat.JSON), done(interrupted=True), *words)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_verb(say: Speaker, number: signal.Signals) -> None:
    """A command that is told to end, or whose terminal closes, tidies up as after Ctrl-C, and says the same."""
    tidied = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            tidied.append(True)

    with pytest.raises(Interrupted) as caught:
        run(say, work(), "what is there stays.")

    assert (caught.value.why, tidied) == ("what is there stays", [True])
    assert signal.getsignal(number) is signal.SIG_DFL
