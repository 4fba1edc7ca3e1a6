"""`obol completion bash|zsh|fish`: scripts that make a shell complete `obol …`, and what they ask.

The scripts ask a hidden command, `obol __complete WORD…`, in the way that kubectl, helm and others of their family are
asked by theirs: a candidate a line, a tab and what it is for behind it, at the end a colon and a number that says
whether files may follow. So the answer for `obol kubectl …` is kubectl's own.

Nothing is written to the files that a shell reads when it starts, as the parser's own `--install-completion` does:
`obol stack purge` would not take it out again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from obol.cli import passthrough
from obol.cli.later import later
from obol.cli.verb import verb
from obol.config.paths import Invocation, locate
from obol.errors import ObolError

if TYPE_CHECKING:
    import asyncio
    from importlib import resources

    from obol.machine import commands
else:
    asyncio, resources = later("asyncio"), later("importlib.resources")
    commands = later("obol.machine.commands")

WITHIN = 5.0
"""Seconds that a tool has to answer what it would complete."""
ASK = "__complete"

_FILES = {"DIR": 16, "FILE": 0, "FILE|DIR": 0}
"""By the placeholder of an option's value: what kind of file it is."""


class Shell(StrEnum):
    """Those that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


class Follow(IntEnum):
    """What the shell may add by itself where no candidate fits; the numbers are those of kubectl's family."""

    FILES = 0
    NOTHING = 4
    DIRECTORIES = 16


@dataclass(frozen=True, slots=True)
class Candidates:
    """What could stand at the end of a command line."""

    words: tuple[tuple[str, str], ...] = ()
    """Each with what it is for."""
    follow: Follow = Follow.NOTHING

    def __str__(self) -> str:
        lines = [f"{word}\t{about}" if about else word for word, about in self.words]
        return "\n".join([*lines, f":{self.follow.value}"])


@dataclass(frozen=True, slots=True)
class Delegated:
    """The tool knows; these are its words, of which the last is to be completed."""

    tool: str
    words: tuple[str, ...]


def add_to(app: typer.Typer) -> None:
    """Add the command that people know, and the one that scripts ask."""
    verb(app)(completion)
    app.command(ASK, hidden=True, cls=passthrough.Verbatim)(_answer)


def completion(shell: Annotated[Shell, typer.Argument(help="Your shell.", metavar="bash|zsh|fish")]) -> None:
    """Print a script that makes your shell complete commands and options.

    For bash, put `source <(obol completion bash)` into ~/.bashrc. For zsh, put `source <(obol completion zsh)` into
    ~/.zshrc, behind compinit. For fish, put `obol completion fish | source` into ~/.config/fish/config.fish.
    """
    sys.stdout.write(script(shell))


def script(shell: Shell) -> str:
    """The script for a shell."""
    return (resources.files("obol.cli") / "shells" / f"obol.{shell}").read_text(encoding="utf-8")


def _answer(context: typer.Context) -> None:
    """Tell a script what could stand at the end of a command line."""
    root = context.find_root().command
    assert isinstance(root, TyperGroup)
    match complete(root, context.args):
        case Delegated(tool, words):
            around = Invocation.of_process()
            kubeconfig = locate(around).config / passthrough.KUBECONFIG
            sys.stdout.write(ask_tool(tool, words, kubeconfig, around.environ))
        case found:
            sys.stdout.write(f"{found}\n")


def ask_tool(tool: str, words: Sequence[str], kubeconfig: Path, environ: Mapping[str, str]) -> str:
    """Ask a tool what it would complete; nothing where it is not installed, or does not answer soon."""
    given = passthrough.own_words(words)
    # It also has remarks for people, which would be taken for candidates.
    environment = {**passthrough.pointed(given, kubeconfig, environ), "COBRA_ACTIVE_HELP": "0"}
    try:
        done = asyncio.run(commands.SystemRunner().run([tool, ASK, *given], env=environment, timeout=WITHIN))
    except ObolError:
        return f"{Candidates()}\n"
    return done.stdout if done.code == 0 else f"{Candidates()}\n"


def complete(root: TyperGroup, words: Sequence[str]) -> Candidates | Delegated:
    """Find what could stand in place of the last of the words, which follow the name of the program."""
    *before, last = words or [""]
    command: TyperCommand | TyperGroup = root
    valued: TyperOption | None = None
    given: set[str] = set()
    for position, word in enumerate(before):
        if valued is not None:
            valued = None
        elif word.startswith("-"):
            name, equals, _value = word.partition("=")
            given.add(name)
            valued = None if equals else _valued(command, name)
        elif isinstance(command, TyperGroup):
            below = command.commands.get(word)
            if not isinstance(below, TyperCommand | TyperGroup):
                return Candidates()
            if word in passthrough.TOOLS:
                return Delegated(word, tuple(words[position + 1 :]))
            command = below
    return _at(command, valued, given, last)


def _at(command: TyperCommand | TyperGroup, valued: TyperOption | None, given: set[str], last: str) -> Candidates:
    """Complete a word of a command: the value of an option, an option, a command below, or an argument."""
    if valued is not None:
        return _values(command, valued, last)
    name, equals, value = last.partition("=")
    if last.startswith("-"):
        if equals and (option := _valued(command, name)) is not None:
            found = _values(command, option, value)
            return Candidates(tuple((f"{name}={word}", about) for word, about in found.words), found.follow)
        return Candidates(tuple(_options(command, given, last)))
    if isinstance(command, TyperGroup):
        members = ((word, member) for word, member in command.commands.items() if not member.hidden)
        return Candidates(tuple((word, _brief(one.help)) for word, one in members if word.startswith(last)))
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    choices = [(item.value, "") for one in arguments for item in one.shell_complete(typer.Context(command), last)]
    # Who has nothing else to say is shown the options at once.
    return Candidates(tuple(choices if arguments or last else _options(command, given, last)))


def _values(command: TyperCommand | TyperGroup, option: TyperOption, last: str) -> Candidates:
    if option.metavar in _FILES:
        return Candidates(follow=Follow(_FILES[option.metavar]))
    return Candidates(tuple((item.value, "") for item in option.shell_complete(typer.Context(command), last)))


def _options(command: TyperCommand | TyperGroup, given: set[str], last: str) -> Iterator[tuple[str, str]]:
    """Yield the options that begin so, by their long names, without those that are there and may not be repeated."""
    for option in command.params:
        if not isinstance(option, TyperOption) or option.hidden:
            continue
        names = [*option.opts, *option.secondary_opts]
        if given.isdisjoint(names) or option.multiple:
            yield from ((name, _brief(option.help)) for name in names if name.startswith((last, "--")[not last]))
    yield from (("--help", "Show this message and exit."),) if "--help".startswith(last) else ()


def _valued(command: TyperCommand | TyperGroup, name: str) -> TyperOption | None:
    """The option of that name, if a value follows it."""
    for option in command.params:
        if isinstance(option, TyperOption) and name in option.opts and not option.is_flag:
            return option
    return None


def _brief(text: str | None) -> str:
    """The first line of a help text."""
    return (text or "").strip().partition("\n")[0]
