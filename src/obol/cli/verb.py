"""`@verb(app)`: how a function becomes a command, and `run`: how it awaits what it does.

A function whose first parameter is `say` gets the options that all such verbs have, -o, -v and -q, and is called with
the Speaker that follows them. A parameter that is a dataclass becomes an option for each of its fields.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Coroutine
from dataclasses import fields, is_dataclass, replace
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from obol.cli.later import later
from obol.cli.terminal.present import OutputFormat, Speaker
from obol.errors import Interrupted

if TYPE_CHECKING:
    import asyncio
else:
    asyncio = later("asyncio")

Output = Annotated[
    OutputFormat | None, typer.Option("--output", "-o", help="How to write results.", show_default=False)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more, and show the output of other programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results, warnings and errors.")]
ExitCode = Annotated[
    bool,
    typer.Option(
        "--exit-code", help="Exit with 0 if all of it runs, with 1 if only a part does, with 4 if nothing does."
    ),
]

T = TypeVar("T")
Body = TypeVar("Body", bound="Callable[..., None]")

_COMMON = (
    Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context),
    Parameter("output", Parameter.KEYWORD_ONLY, annotation=Output, default=None),
    Parameter("verbose", Parameter.KEYWORD_ONLY, annotation=Verbose, default=False),
    Parameter("quiet", Parameter.KEYWORD_ONLY, annotation=Quiet, default=False),
)


def verb(app: typer.Typer, name: str | None = None, *, hidden: bool = False) -> Callable[[Body], Body]:
    """Add a function to a group, under its own name unless given another."""

    def add(body: Body) -> Body:
        app.command(name, hidden=hidden)(_command(body))
        return body

    return add


def speaker(context: typer.Context, output: OutputFormat | None, verbose: bool, quiet: bool) -> Speaker:
    """Join what was said before the verb, or by the environment, with what was said after it, which counts more."""
    before = context.obj if isinstance(context.obj, Speaker) else Speaker()
    return replace(
        before,
        output=output or before.output,
        verbose=verbose or (before.verbose and not quiet),
        quiet=quiet or (before.quiet and not verbose),
    )


def _command(body: Callable[..., None]) -> Callable[..., None]:
    """The function that typer calls: each of its parameters is one option or argument."""
    wanted = dict(signature(body, eval_str=True).parameters)
    common = _COMMON if wanted.pop("say", None) is not None else ()
    several = {name: _options(one.annotation) for name, one in wanted.items() if is_dataclass(one.annotation)}
    own = [option for name, one in wanted.items() for option in several.get(name, (one,))]

    def command(**given: Any) -> None:
        if common:
            given["say"] = speaker(**{one.name: given.pop(one.name) for one in common})
        for name, options in several.items():
            given[name] = wanted[name].annotation(**{one.name: given.pop(one.name) for one in options})
        body(**given)

    command.__name__, command.__doc__ = body.__name__, body.__doc__
    command.__annotations__ = {}
    vars(command)["__signature__"] = Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*own, *common)])
    return command


def _options(kind: Any) -> tuple[Parameter, ...]:
    """The fields of a dataclass as parameters."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(kind)
    )


def run(say: Speaker, work: Coroutine[object, object, T], interrupted: str = "") -> T:
    """Run what a verb awaits. If Ctrl-C ends it, raises Interrupted, and `interrupted` says what that means."""
    try:
        return asyncio.run(_until_ended(work))
    except KeyboardInterrupt:
        if interrupted or say.output is OutputFormat.JSON:
            raise Interrupted("interrupted", why=interrupted.removesuffix(".")) from None
        raise


async def _until_ended(work: Coroutine[object, object, T]) -> T:
    """End the work, and the programs that it runs, by SIGTERM or the SIGHUP of a closing terminal as by Ctrl-C."""
    ours, ended = asyncio.current_task(), []

    def end() -> None:
        ended.append(True)
        if ours is not None:
            ours.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup, for one, ignores SIGHUP on purpose
            with contextlib.suppress(ValueError, RuntimeError):  # only the main thread can handle signals
                asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        return await work
    except asyncio.CancelledError:
        if ended:
            raise KeyboardInterrupt from None
        raise
