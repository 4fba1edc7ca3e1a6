from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from obol.cli.stack import identifying
from obol.cli.terminal.present import OutputFormat, Speaker
from obol.config.paths import Invocation, locate
from obol.stack.adoption import Clusters
from obol.stack.home import Home, Identity, NameLost

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Terminal

CALM, NEWT = Identity("calm-otter", "k3d"), Identity("brave-newt", "k3d")


@pytest.fixture
def around(terminal: Terminal) -> Invocation:
    """A machine with a cluster that was made for its directory."""
    terminal.clusters = Clusters(("calm-otter",))
    return Invocation.of_process()


@pytest.fixture
def home(around: Invocation) -> Home:
    """Where its stack is written down."""
    found = Home(locate(around).config)
    found.establish(NEWT)
    return found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Speaker:
    """Somebody who listens."""
    return Speaker(OutputFormat.HUMAN)


def test_adopted(say: Speaker, around: Invocation, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """A stack that has lost its name takes that of its cluster, which is said and written down."""
    (home.config / ".stack-id").write_text("")

    assert identifying.whose(say, around, home) == CALM

    assert home.identity() == CALM
    assert "The cluster obol-stack-calm-otter is this stack's, and is used again" in capsys.readouterr().err


def test_gone(say: Speaker, around: Invocation, home: Home) -> None:
    """So does one whose file is gone; where there was never a stack, who only looks looks for nothing."""
    (home.config / ".stack-id").unlink()

    assert identifying.seen(say, around, home) == CALM
    (home.config / ".stack-backend").unlink()
    assert identifying.seen(say, around, home) is None
    assert identifying.whose(say, around, home) == CALM


def test_seen(say: Speaker, around: Invocation, home: Home) -> None:
    """Who only looks changes nothing."""
    (home.config / ".stack-id").write_text("!")

    assert identifying.seen(say, around, home) == CALM
    assert (home.config / ".stack-id").read_text() == "!"


def test_another_name(say: Speaker, around: Invocation, home: Home) -> None:
    """A name that is written holds, unless one wants to be sure, as before a cluster is made."""
    assert identifying.whose(say, around, home) == NEWT
    assert identifying.whose(say, around, home, surely=True) == CALM


@pytest.mark.parametrize("text", ["brave-newt", ""])
def test_other_backends(say: Speaker, around: Invocation, home: Home, text: str) -> None:
    """Nothing of a stack on another backend is looked for among clusters of k3d."""
    home.establish(replace(NEWT, backend="podman"))
    (home.config / ".stack-id").write_text(text)

    if text:
        assert identifying.whose(say, around, home, surely=True) == replace(NEWT, backend="podman")
    else:
        with pytest.raises(NameLost):
            identifying.whose(say, around, home)


def test_anew(terminal: Terminal, say: Speaker, around: Invocation, home: Home) -> None:
    """Who begins anew needs no former name, but is told of one that can still be found."""
    (home.config / ".stack-id").write_text("")
    terminal.clusters = Clusters()

    with pytest.raises(NameLost):
        identifying.before(say, around, home, anew=False)
    assert identifying.before(say, around, home, anew=True) is None

    terminal.clusters = Clusters(("calm-otter",))
    assert identifying.before(say, around, home, anew=True) == CALM


@pytest.mark.parametrize("verb", ["up", "down", "purge", "status"])
def test_verbs(terminal: Terminal, home: Home, verb: str) -> None:
    """No verb goes on with a file that does not tell which stack this is: the way out is told."""
    terminal.clusters = Clusters()
    (home.config / ".stack-id").write_text("")

    assert terminal.run(f"stack {verb}") == 1

    assert "error: it is not known which stack this is" in terminal.err
    assert "obol stack init --force" in terminal.err
