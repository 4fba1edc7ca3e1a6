"""typer as we use it: groups that load when they are needed, values without pydantic, and hints after mistakes.

typer gives every value to pydantic, which takes longer to load than most commands take to answer. Text, flags and words
of a list need no conversion; every other value still goes to pydantic, so the messages about mistakes stay the same.

The parser only knows which word it did not find. What the person may have meant, at this level or another, is looked up
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from enum import Enum
from importlib import import_module
from typing import Any, Protocol, TypeVar, get_args, get_origin, runtime_checkable

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from obol.errors import Interrupted, UsageError

Carried = TypeVar("Carried", bound="Callable[..., Any]")

_ALIKE = 0.6
_ALIKE_SHORT = 0.5
_SHORT = 3
"""How like each other words must be to be taken for one another; of so few letters, one is much."""

_DESTRUCTIVE = "purge"
"""No hint sends a person who mistyped to a command that removes things."""


_SLOT = "_runtime_param"
"""Where a parameter of typer keeps what converts its values, once it has been made."""
_NOTHING = object()


@runtime_checkable
class ParserProblem(Protocol):
    """An exception of the parser; typer brings its parser along under changing names."""

    exit_code: int

    def format_message(self) -> str:
        """Say what was wrong."""
        ...

    def show(self) -> None:
        """Print it."""
        ...


class Command(TyperCommand):
    """A command that starts fast."""

    def get_params(self, ctx: Any) -> Any:
        """Give its options and arguments, that of --help too."""
        return quicken(super().get_params(ctx))


class Verbs(typer.Typer):
    """Commands of ours, in a group of ours."""

    def __init__(self, cls: type[TyperGroup] | None = None, **settings: Any) -> None:
        super().__init__(cls=cls or Group, no_args_is_help=True, rich_markup_mode=None, **settings)

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **settings: Any
    ) -> Callable[[Carried], Carried]:
        """Add a command."""
        return super().command(name, cls=cls or Command, **settings)


class Group(TyperGroup):
    """A group that knows what was meant by a command that it does not have, and that starts fast."""

    def get_params(self, ctx: Any) -> Any:
        """Give the options of the group itself."""
        return quicken(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Carry the command out. Raises Interrupted for Ctrl-C, which the parser would make an exit code of."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("interrupted") from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command. Raises UsageError."""
        name = args[0]
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            said = f"{ctx.command_path} {name}"
            meant = [f"{ctx.command_path} {close}" for close in _close(name, _shown(self))]
            raise UsageError(
                f"there is no command `{said}`",
                hint=_question(meant or _elsewhere(ctx.find_root(), name))
                or f"`{ctx.command_path} --help` lists the commands",
            )
        return super().resolve_command(ctx, args)


class Noun(Group):
    """A group of verbs whose module is imported when one of them, or their list, is asked for."""

    def __init__(self, name: str, module: str, about: str) -> None:
        super().__init__(name=name, help=about, no_args_is_help=True, rich_markup_mode=None)
        self._module = module
        del self.commands  # so that __getattr__ is asked for them

    def __getattr__(self, name: str) -> Any:
        if name != "commands":
            raise AttributeError(name)
        self.commands = typer.main.get_group(import_module(self._module).app).commands
        return self.commands


def explained(problem: ParserProblem) -> UsageError | None:
    """Say it in our way; None for what is no mistake: a person who gives no command gets the help."""
    context: Any = getattr(problem, "ctx", None)
    option = getattr(problem, "option_name", None)
    text = problem.format_message()
    if context is None:
        return UsageError(text)
    if text.startswith("Usage:"):
        return None
    path = context.command_path
    if isinstance(option, str) and hasattr(problem, "possibilities"):
        return _no_such_option(context, option)
    what = text.replace("Value error, ", "").removesuffix(".")
    return UsageError(what[:1].lower() + what[1:], hint=f"`{path} --help` tells what is allowed")


def _no_such_option(context: Any, name: str) -> UsageError:
    path = context.command_path
    names = [one[2:] for option in _options(context.command) for one in option if one.startswith("--")]
    root = context.find_root()
    owners = [words for words, command in _below(root) if any(name in one for one in _options(command))]
    owners = [words for words in owners if not words.endswith(_DESTRUCTIVE)]
    if close := _close(name.lstrip("-"), [*names, "help"]):
        hint = _question([f"{path} --{one}" for one in close])
    elif owners:
        hint = " and ".join(f"`{words}`" for words in owners[:3]) + f" {'has' if len(owners) == 1 else 'have'} it"
    else:
        hint = f"`{path} --help` lists the options"
    return UsageError(f"`{path}` has no option {name}", hint=hint)


def _close(word: str, known: Sequence[str]) -> list[str]:
    short = len(word) <= _SHORT
    return get_close_matches(word, known, cutoff=_ALIKE_SHORT if short else _ALIKE)


def _question(meant: Sequence[str]) -> str:
    return f"did you mean {' or '.join(f'`{one}`' for one in meant)}?" if meant else ""


def _elsewhere(root: Any, name: str) -> list[str]:
    """Where else there is a command of this name."""
    return [words for words, _command in _below(root) if words.rpartition(" ")[2] == name]


def _shown(group: TyperGroup) -> list[str]:
    return [name for name, command in group.commands.items() if not command.hidden]


def _below(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield all commands, with the words that call them."""
    waiting: list[tuple[str, Any]] = [(str(root.info_name), root.command)]
    for words, command in waiting:
        yield words, command
        if isinstance(command, TyperGroup):
            waiting += [(f"{words} {name}", command.commands[name]) for name in _shown(command)]


def _options(command: Any) -> list[list[str]]:
    """The names of each option."""
    return [[*one.opts, *one.secondary_opts] for one in command.params if isinstance(one, TyperOption)]


class Plain:
    """Converts the values of one parameter."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Give the value that the command gets; raises what typer raises."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        found = plain(self._annotation, value)
        if found is not _NOTHING:
            return found
        vars(param)[_SLOT] = None  # typer makes its own then
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def quicken(parameters: list[Any]) -> list[Any]:
    """Have these parameters of typer look at plain values by themselves; versions that do not ask pydantic stay."""
    for parameter in parameters:
        if vars(parameter).get(_SLOT, parameter) is None:
            vars(parameter)[_SLOT] = Plain(parameter.type_descriptor.annotation)
    return parameters


def plain(annotation: Any, value: Any) -> Any:
    """The value, where it is plain that it is of that type; `_NOTHING` elsewhere."""
    if annotation in {str, bool} and type(value) is annotation:
        return value
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next((one for one in annotation if value in {one, one.value}), _NOTHING)
    if get_origin(annotation) is list and get_args(annotation) == (str,) and isinstance(value, list | tuple):
        return list(value) if all(type(item) is str for item in value) else _NOTHING
    return _NOTHING
