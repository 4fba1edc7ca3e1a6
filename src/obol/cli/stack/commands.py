"""`obol stack …`: initialise, bring up, take down, remove, and see how it is."""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from obol.backends.ports import BACKENDS
from obol.cli.later import later
from obol.cli.parser import Verbs
from obol.cli.terminal.present import OutputFormat, Speaker
from obol.cli.verb import ExitCode, run, verb
from obol.config.paths import Invocation
from obol.config.preferences import preferences
from obol.errors import Interrupted, NotThere

if TYPE_CHECKING:
    from obol.backends.ports import BackendName
    from obol.cli.results import stack as results
    from obol.cli.stack import purgeview, view
    from obol.cli.terminal import caches, steps
    from obol.config.stack import EngineName
    from obol.stack import stacks
    from obol.stack.home import Identity
    from obol.stack.stacks import Machine, Stacks
    from obol.wiring import stack as wiring

    AskedBackend = str
else:
    purgeview, view = later("obol.cli.stack.purgeview"), later("obol.cli.stack.view")
    caches, results = later("obol.cli.terminal.caches"), later("obol.cli.results.stack")
    stacks, wiring = later("obol.stack.stacks"), later("obol.wiring.stack")
    steps = later("obol.cli.terminal.steps")

    AskedBackend = StrEnum("AskedBackend", {word.upper(): word for word in ("auto", *BACKENDS)})

app = Verbs()


class AskedEngine(StrEnum):
    """What can be asked for with --cache-engine."""

    AUTO = "auto"
    BUILTIN = "builtin"
    CONTAINERS = "containers"


AUTO = AskedBackend("auto")
NoRegistryCache = Annotated[
    bool,
    typer.Option("--no-registry-cache", help="Use no registry caches, as with OBOL_DISABLE_REGISTRY_CACHE=true."),
]
BackendOption = Annotated[
    AskedBackend, typer.Option("--backend", help="What to run the stack on; none only fills the caches.")
]
EngineOption = Annotated[
    AskedEngine,
    typer.Option(
        "--cache-engine",
        help="What serves the caches of a cluster in Docker: one process of obol, or a registry container for each.",
    ),
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE|DIR",
        help="More manifests to deploy, and to fetch the images of; may be repeated.",
    ),
]
NoPrefetch = Annotated[
    bool, typer.Option("--no-prefetch", help="Do not fetch images into the caches while the stack starts.")
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Begin anew although there is a stack; it keeps its name.")]
Everything = Annotated[
    bool,
    typer.Option(
        "--force",
        "-f",
        help="Remove the stack's data and images too; on podman, also an image of the stack that you pulled yourself.",
    ),
]
Caches = Annotated[bool, typer.Option("--cache", help="Remove the registry caches and all that they hold too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_INTERRUPTED = "run the same command again to do the rest."


@verb(app)
def init(say: Speaker, backend: BackendOption = AUTO, force: Force = False) -> None:
    """Name the stack and put its manifests where you can change them.

    `obol stack up` does so by itself. Use this to look at the manifests, or to choose the backend, before.
    """
    stack = _stack(say)
    identity = run(say, stack.init(_wish(backend), anew=force))
    home = stack.home
    line = f"The stack is {identity.stack_id}, on {identity.backend}. Its manifests are in {home.workloads}."
    result = results.InitResult(identity.stack_id, identity.backend, str(home.config), str(home.workloads))
    say.result(result, lambda: [line])


@verb(app)
def up(
    say: Speaker,
    no_registry_cache: NoRegistryCache = False,
    backend: BackendOption = AUTO,
    cache_engine: EngineOption = AskedEngine.AUTO,
    file: Files = None,
    no_prefetch: NoPrefetch = False,
) -> None:
    """Bring the stack up, and wait until it answers.

    Starts the registry caches, and LiteLLM and Prometheus in a cluster of k3d, as pods of podman, or in k3s on this
    machine. If none of these is installed, it fills the caches with every image that the stack needs, and exits with 1
    if it could not fetch one.
    """
    stack = _stack(say)
    engine = None if cache_engine is AskedEngine.AUTO else cast("EngineName", cache_engine.value)
    options = stacks.UpOptions(_wish(backend), engine, file or (), not no_registry_cache, not no_prefetch)
    chosen = run(say, stack.choose(options))
    stays = "what is there stays" if BACKENDS[chosen.choice.backend].runs else "what has been fetched is kept"
    outcome = run(say, stack.up(chosen), f"{stays}; `obol stack up` goes on from there.")
    say.result(view.up_result(stack.home, outcome), lambda: view.up_parts(stack.home, outcome, time.time()))
    if say.output is OutputFormat.HUMAN:  # as JSON they are part of the result
        for error in view.errors(outcome):
            say.error(error)
    if outcome.identity is None and outcome.caches is not None:
        for line in caches.start_warnings(outcome.caches):
            say.warn(line)
    for line in (*view.advice(outcome), *outcome.ignored):
        say.note(line)
    if outcome.caches is not None and not outcome.complete:
        raise typer.Exit(1)


@verb(app)
def down(say: Speaker) -> None:
    """Stop the stack. Its images and data stay, and the registry caches run on."""
    identity, stopped = run(say, _stack(say).down(), _INTERRUPTED)
    line = "is stopped. Its images and data stay, and the registry caches run on" if stopped else "did not run"
    result = results.DownResult(identity.stack_id, identity.backend, stopped)
    say.result(result, lambda: [f"The stack {identity.stack_id} {line}."])


@verb(app)
def purge(say: Speaker, force: Everything = False, cache: Caches = False, yes: Yes = False) -> None:
    """Remove the stack and the files that obol wrote for it. The registry caches and what they hold stay.

    Your obol.toml stays, and so do the manifests that you changed. On podman the volumes of the pods go, such as the
    history of Prometheus, and images stay.
    """
    stack = _stack(say)
    identity = run(say, stack.identify())
    if (force or cache) and not yes:
        _confirm(identity, force=force, cache=cache)
    result = purgeview.purge_result(run(say, stack.purge(identity, force=force, caches=cache), _INTERRUPTED))
    say.result(result, lambda: purgeview.purged_lines(result))
    for note in result.notes:
        say.note(note)


@verb(app)
def key(say: Speaker) -> None:
    """Print the key of LiteLLM.

    As in: curl -H "Authorization: Bearer $(obol stack key)" ADDRESS/v1/models
    """
    stack = _stack(say)
    found = stack.home.key()
    if not found:
        run(say, stack.there())
        raise NotThere("LiteLLM has no key yet", hint="`obol stack up` makes one")
    say.result(results.KeyResult(found, str(stack.home.key_file)), lambda: [found])


@verb(app)
def status(say: Speaker, file: Files = None, exit_code: ExitCode = False) -> None:
    """Show what runs and where it answers, what the caches hold, how the last `up` went, and the room on disk.

    On podman the caches have one more address, of the pods' network: there Prometheus asks them for their figures.
    """
    stack = _stack(say)
    found, disk = run(say, stack.status(file or ()))
    say.result(view.status_result(stack.home, found, disk), lambda: view.status_parts(stack.home, found, disk))
    if found.trouble:
        say.warn(f"Not all that runs is known: {found.trouble}.")
    if found.identity is None and found.caches is None:
        say.note("Start the caches and fill them: obol stack up")
    raise typer.Exit(view.status_code(found) if exit_code else 0)


def machine(say: Speaker) -> Machine:
    """This machine. With --verbose, what the programs say that obol calls is shown."""
    lines = say.child if say.verbose and not say.quiet else None
    return wiring.this_computer(os.environ, verbose=say.verbose, lines=lines, note=say.note)


def _stack(say: Speaker) -> Stacks:
    """The stack of this process's directories."""
    around = Invocation.of_process()
    return stacks.Stacks(around, machine(say), steps.TerminalReporter(say, around))


def _wish(asked: AskedBackend) -> BackendName | None:
    """The backend that the person names; None for any."""
    return None if asked == AUTO else cast("BackendName", str(asked))


def _confirm(identity: Identity | None, *, force: bool, cache: bool) -> None:
    """Ask on a terminal; scripts mean what they say."""
    if not sys.stdin.isatty() or not preferences(os.environ).interactive:
        return
    shared = identity is not None and BACKENDS[identity.backend].keeps_images
    images = "images, also those that you pulled yourself" if shared else "images"
    what = " and ".join(
        [
            *([f"the stack's data and {images}"] if force else []),
            *(["the registry caches with all images"] if cache else []),
        ]
    )
    try:
        confirmed = typer.confirm(f"Remove {what}?", err=True)
    except typer.Abort:  # Ctrl-C
        confirmed = False
        sys.stderr.write("\n")
    if not confirmed:
        raise Interrupted("nothing was removed")
