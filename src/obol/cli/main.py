"""The command line as a whole, and the one place where an error becomes text and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a dependency is missing, 4 not there, 130 interrupted.

Help is written by typer without rich: it looks as good at 80 columns, and is there in half the time.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from obol import __version__
from obol.cli import completion, passthrough, registry
from obol.cli import schema as schema_verb
from obol.cli import version as version_verb
from obol.cli.demo import commands as demo
from obol.cli.later import later
from obol.cli.parser import Group, Noun, ParserProblem, Verbs, explained
from obol.cli.terminal.present import OutputFormat, Speaker
from obol.cli.verb import Output, Quiet, Verbose, speaker
from obol.config.preferences import OUTPUT, preferences
from obol.errors import Interrupted, ObolError, UsageError
from obol.machine.texts import lenient

if TYPE_CHECKING:
    from obol.config import sources
else:
    sources = later("obol.config.sources")

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})

NOUNS = {
    "cache": ("obol.cli.cache.commands", "The registry cache: start and stop it, see what it does."),
    "stack": ("obol.cli.stack.commands", "The stack: bring it up, see how it is."),
    "dev": ("obol.cli.dev.commands", "Development mode: run images of this machine in the stack."),
}
"""The groups: the module that has the verbs of each, and what help says of it."""


class _Obol(Group):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands.update({name: Noun(name, module, about) for name, (module, about) in NOUNS.items()})


app = Verbs(
    name="obol",
    cls=_Obol,
    help="Pull-through registry caches, and the stack that they make fast.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (demo, version_verb, schema_verb, registry):
    app.registered_commands += group.app.registered_commands
passthrough.add_to(app)
completion.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"obol {__version__}\n")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")]


@app.callback()
def _root(
    context: typer.Context,
    output: Output = None,
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    del version
    wished = preferences(os.environ)
    context.obj = Speaker(OutputFormat(wished.output), wished.verbose, wished.quiet)
    context.obj = speaker(context, output, verbose, quiet)


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command line (that of the process, unless given); gives the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _have_streams()
    say = _speaker_for_errors(given)
    lenient((sys.stdout, sys.stderr))
    code = _carried_out(given, say)
    # The error names mistakes in the settings already, and an error as JSON stands alone.
    if code == 0 or (say.output is OutputFormat.HUMAN and code not in {UsageError.exit_code, Interrupted.exit_code}):
        _warn_of_variables(say)
    return code


def _have_streams() -> None:
    """Put the null device in place of a closed standard stream, so that no file of ours takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - kept open


def _let_go_of_output() -> None:
    """Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn_of_variables(say: Speaker) -> None:
    """Name variables that begin like ours and have no effect. The list of ours is loaded only if there are such."""
    if any(name.upper().startswith("OBOL") for name in os.environ):
        for sentence in sources.unread(os.environ):
            say.warn(sentence)


def _carried_out(given: list[str], say: Speaker) -> int:
    try:
        result = typer.main.get_command(app).main(given, prog_name="obol", standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # typer makes the one into the other, mostly
        _let_go_of_output()  # the reader has gone
        return ObolError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return Interrupted.exit_code
    except Interrupted as error:
        if error.why or error.what != "interrupted" or say.output is OutputFormat.JSON:  # else they know
            say.error(error)
        return error.exit_code
    except ObolError as error:
        if say.verbose:
            traceback.print_exc()
        say.error(error)
        return error.exit_code
    except Exception as problem:  # noqa: BLE001 - the last resort: the person learns of it
        return _unforeseen(problem, say)
    return result if isinstance(result, int) else 0


def _unforeseen(problem: Exception, say: Speaker) -> int:
    if isinstance(problem, ParserProblem):
        mistake = explained(problem)
        if mistake is not None:
            say.error(mistake)
        elif say.output is OutputFormat.JSON:
            say.error(UsageError("no command is given"))
        else:
            problem.show()
        return problem.exit_code
    if isinstance(problem, OSError) and problem.errno in _NO_ROOM and problem.filename is None:
        _let_go_of_output()
        say.error(ObolError("the result cannot be written", why=problem.strerror or str(problem)))
        return ObolError.exit_code
    if say.verbose:
        traceback.print_exc()
    hint = "" if say.verbose else "the same command with -v shows where; please report it"
    say.error(ObolError(f"obol itself failed: {type(problem).__name__}", why=str(problem), hint=hint))
    return ObolError.exit_code


def _speaker_for_errors(given: Sequence[str]) -> Speaker:
    """Guess how to tell an error, for the case that it comes up before the command line is understood."""
    tool = next((word for word in given if not word.startswith("-") and word != "json"), "")
    ends = [given.index(word) for word in ("--", *([tool] if tool in passthrough.TOOLS else [])) if word in given]
    mine = given[: min(ends, default=len(given))]
    as_json = not {"-ojson", "--output=json"}.isdisjoint(mine)
    as_json |= any(text in {"-o", "--output"} and following == "json" for text, following in pairwise(mine))
    if not any(text.startswith(("-o", "--output")) for text in mine):
        as_json = os.environ.get(OUTPUT, "").strip().lower() == "json"
    verbose = "-v" in mine or "--verbose" in mine
    return Speaker(OutputFormat.JSON if as_json else OutputFormat.HUMAN, verbose)
