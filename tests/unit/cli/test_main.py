import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from obol import __version__
from obol.cli.main import app, run
from obol.cli.passthrough import TOOLS
from obol.errors import DependencyMissing, ObolError
from tests.unit.cli.conftest import Terminal


def _commands(command: Any, words: str = "") -> Iterator[str]:
    """What calls each command of ours."""
    yield words
    for name, member in getattr(command, "commands", {}).items():
        if not member.hidden and name not in TOOLS:
            yield from _commands(member, f"{words} {name}".strip())


@pytest.mark.parametrize("words", [*_commands(get_command(app))])
def test_help(terminal: Terminal, words: str) -> None:
    """The help of every command fits 80 columns."""
    assert terminal.run(f"{words} --help") == 0

    assert terminal.out.startswith(f"Usage: {' '.join(('obol', *words.split()))} ")
    assert max(map(len, terminal.out.splitlines())) <= 80
    assert terminal.err == ""


def test_nothing_to_do(terminal: Terminal) -> None:
    """Without a verb there is help, and the exit code of wrong usage."""
    assert terminal.run("") == 2
    assert "Usage: obol" in terminal.out + terminal.err


def test_version(terminal: Terminal) -> None:
    """The version is one line."""
    assert terminal.run("--version") == 0
    assert terminal.out == f"obol {__version__}\n"


@pytest.mark.parametrize("json_asked", ["-o json cache nope", "cache nope --output=json", "cache -ojson nope"])
def test_wrong_usage_as_json(terminal: Terminal, json_asked: str) -> None:
    """Wrong usage is told as JSON where JSON was asked for, wherever on the command line."""
    assert terminal.run(json_asked) == 2
    assert json.loads(terminal.err)["error"]["exit_code"] == 2


def test_words_after_a_double_dash(terminal: Terminal) -> None:
    """What follows -- is not for us, so it does not ask for JSON."""
    assert terminal.run("nope -- -o json") == 2
    assert terminal.err.startswith("error:")


def test_error(terminal: Terminal) -> None:
    """An error of ours has its own exit code."""
    terminal.engine.problem = DependencyMissing("`k3d` cannot be run", hint="install it")

    assert terminal.run("cache status") == 3
    assert terminal.err == "error: `k3d` cannot be run\n  try: install it\n"


def test_error_in_detail(terminal: Terminal) -> None:
    """With -v an error comes with the place where it was raised."""
    terminal.engine.problem = ObolError("it failed")

    assert terminal.run("cache status -v") == 1
    assert terminal.err.startswith("Traceback ")
    assert terminal.err.endswith("error: it failed\n")


def test_mistake_of_ours(terminal: Terminal) -> None:
    """An exception that nobody foresaw is told in a sentence, and its traceback on request."""
    terminal.engine.problem = RuntimeError("boom")

    assert terminal.run("cache status") == 1
    assert terminal.err.startswith("error: obol itself failed: RuntimeError\n  why: boom\n  try: ")
    assert terminal.run("-v cache status") == 1
    assert terminal.err.startswith("Traceback ")


def test_interrupted(terminal: Terminal) -> None:
    """An interruption has the exit code of one, and no traceback."""
    terminal.engine.problem = KeyboardInterrupt()

    assert terminal.run("cache status") == 130
    assert "Traceback" not in terminal.err


@pytest.mark.parametrize("line", ["--help", "cache logs --path", "--version"])
def test_reader_went_away(line: str) -> None:
    """Where whoever reads our output has gone, we end quietly."""
    command = f"import sys; from obol.cli.main import run; sys.exit(run({line.split()}))"
    child = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()

    _out, err = child.communicate()

    assert (child.returncode, err) == (1, b"")


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams(streams: str) -> None:
    """Who closes standard streams wants nothing to be said there, and gets the same exit code."""
    program = f"{sys.executable} -c 'from obol.cli.main import run; exit(run([\"--version\"]))'"

    ran = subprocess.run(f"{program} {streams}", shell=True, capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_no_room_for_the_result() -> None:
    """A result that cannot be written has failed, with one reason."""
    program = "from obol.cli.main import run; exit(run(['--version']))"
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        ran = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert ran.returncode == 1
    assert ran.stderr == "error: the result cannot be written\n  why: No space left on device\n"


def test_interrupted_as_json(terminal: Terminal) -> None:
    """Ctrl-C is a failure like others to a program: it is told as JSON, and silent for people who know."""
    terminal.engine.problem = KeyboardInterrupt()

    assert terminal.run("cache status -o json") == 130
    assert json.loads(terminal.err)["error"]["code"] == "interrupted"
    assert terminal.run("cache status") == 130
    assert terminal.err == ""


def test_arguments_of_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without arguments given, those of the process are meant."""
    monkeypatch.setattr(sys, "argv", ["obol", "--version"])

    assert run() == 0
    assert capsys.readouterr().out.startswith("obol ")


def test_wishes_of_the_environment(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says holds, for errors too, unless an option says something else."""
    monkeypatch.setenv("OBOL_OUTPUT", "json")

    assert terminal.run("cache status") == 0
    assert terminal.out.startswith("{")
    assert terminal.run("cache nope") == 2
    assert json.loads(terminal.err)["error"]["exit_code"] == 2
    assert terminal.run("cache status -o human") == 0
    assert not terminal.out.startswith("{")
    assert terminal.run("-o human cache nope") == 2
    assert terminal.err.startswith("error: ")


def test_a_wish_that_is_not_understood(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that is none of those allowed is wrong usage, and the allowed ones are named."""
    monkeypatch.setenv("OBOL_OUTPUT", "xml")

    assert terminal.run("cache status") == 2
    assert "OBOL_OUTPUT=xml: must be human or json" in terminal.err


def test_a_fast_start() -> None:
    """What help has no use for, and would wait for, is not loaded."""
    asked = "import sys, obol.cli.main; print(sorted(sys.modules.keys() & {'asyncio', 'socket'}))"

    # Without the environment, which may have the process measured: that loads more.
    ran = subprocess.run([sys.executable, "-c", asked], env={}, capture_output=True, text=True, check=True)

    assert ran.stdout == "[]\n"


def test_a_variable_with_a_typing_error(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that nobody reads is told of once, unless the error names it, or is JSON for a program."""
    monkeypatch.setenv("OBOL_CACHE_TAGTTL", "5m")

    assert terminal.run("cache status") == 0
    assert terminal.err.count("OBOL_CACHE_TAGTTL has no effect; did you mean OBOL_CACHE_TAG_TTL?") == 1
    assert terminal.run("cache config podman") == 2
    assert terminal.err.count("OBOL_CACHE_TAGTTL") == 1
    assert terminal.run("cache logs -o json") == 4
    assert "TAGTTL" not in terminal.err
