import os
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from obol.cli import completion
from obol.cli.completion import Candidates, Delegated, Follow, Shell, ask_tool, complete, script
from obol.cli.main import app
from tests.unit.cli.conftest import Terminal

KUBECTL = """\
#!/bin/sh
case "$*" in
"__complete get po") echo "pods	$KUBECONFIG"; echo ":$COBRA_ACTIVE_HELP" ;;
"__complete fail ") echo half; exit 1 ;;
*) sleep 60 ;;
esac
"""


@pytest.fixture
def root() -> TyperGroup:
    """The whole command line."""
    found = get_command(app)
    assert isinstance(found, TyperGroup)
    return found


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows a single answer, and that is slow for all else."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kubectl").write_text(KUBECTL)
    (programs / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(completion, "WITHIN", 0.3)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["st"], ["stack"]),
        (["stack", "p"], ["purge"]),
        (["-o", "json", "stack", "d"], ["down"]),
        (["stack", "up", "--ba"], ["--backend"]),
        (["stack", "up", "--backend", "k3"], ["k3d", "k3s"]),
        (["stack", "up", "--backend=po"], ["--backend=podman"]),
        (["stack", "up", "--quiet=x", "--nothing=y"], []),
        (["stack", "up", "--backend", "k3d", "--backe"], []),
        (["cache", "serve", "--upstream", "a=b", "--ups"], ["--upstream"]),
        (["cache", "serve", "--no-o"], ["--no-offline"]),
        (["completion", "z"], ["zsh"]),
        (["cache", "warm", ""], []),
        (["stack", "down", "--h"], ["--help"]),
        (["nonsense", ""], []),
        (["--install"], []),
        ([], ["demo", "version", "kubectl", "helm", "k9s", "completion", "cache", "stack"]),
    ],
)
def test_candidates(root: TyperGroup, words: list[str], found: list[str]) -> None:
    """Commands, options and choices are found wherever they may stand, and options that are there not again."""
    candidates = complete(root, words)

    assert isinstance(candidates, Candidates)
    assert set(found) <= {word for word, _about in candidates.words}
    assert len(candidates.words) == len(found) or not words


def test_what_takes_no_argument_shows_its_options(root: TyperGroup) -> None:
    """Behind a command that takes no argument the options are shown at once, by their long names."""
    candidates = complete(root, ["stack", "down", ""])

    assert isinstance(candidates, Candidates)
    assert [word for word, _about in candidates.words] == ["--output", "--verbose", "--quiet", "--help"]


def test_files_follow_where_a_file_is_meant(root: TyperGroup) -> None:
    """The shell completes paths for options that take one, and nowhere else."""
    assert complete(root, ["cache", "serve", "--store", ""]) == Candidates(follow=Follow.DIRECTORIES)
    assert complete(root, ["cache", "serve", "--store=x"]) == Candidates(follow=Follow.DIRECTORIES)
    assert complete(root, ["stack", "up", "-f", ""]) == Candidates(follow=Follow.FILES)
    assert complete(root, ["stack", "up", "x"]) == Candidates(follow=Follow.NOTHING)


def test_a_tool_is_asked_for_its_own(root: TyperGroup) -> None:
    """Words behind the name of a tool are the tool's, whatever they look like."""
    assert complete(root, ["kubectl", "get", "-o", "--", ""]) == Delegated("kubectl", ("get", "-o", "--", ""))


@pytest.mark.usefixtures("kubectl")
def test_answer_of_a_tool(terminal: Terminal, tmp_path: Path) -> None:
    """The tool answers in our place, with the stack's kubeconfig and without remarks for people."""
    assert terminal.run("__complete kubectl -- get po") == 0
    assert terminal.out == f"pods\t{tmp_path / 'config/kubeconfig.yaml'}\n:0\n"


@pytest.mark.usefixtures("kubectl")
@pytest.mark.parametrize(("tool", "words"), [("kubectl", ["slow", ""]), ("kubectl", ["fail", ""]), ("helm", ["x"])])
def test_a_tool_that_is_of_no_help(tool: str, words: list[str], tmp_path: Path) -> None:
    """A tool that is slow, fails or is not installed completes nothing, and stops nobody from typing on."""
    assert ask_tool(tool, words, tmp_path / "kubeconfig", {"PATH": os.environ["PATH"]}) == ":4\n"


def test_through_the_command_line(terminal: Terminal) -> None:
    """The hidden command answers a candidate a line with what it is for, and is in no help."""
    assert terminal.run("__complete stack down --verb") == 0
    assert terminal.out == "--verbose\tSay more, and show the output of other programs.\n:4\n"

    assert terminal.run("--help") == 0
    assert "__complete" not in terminal.out
    assert "completion" in terminal.out


@pytest.mark.parametrize("shell", list(Shell))
def test_script(terminal: Terminal, shell: Shell) -> None:
    """The script of each shell is printed as it is, and asks the hidden command."""
    assert terminal.run(f"completion {shell}") == 0
    assert terminal.out == script(shell)
    assert "__complete" in terminal.out
