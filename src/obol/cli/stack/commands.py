"""`obol stack …`: initialise, bring up, take down, remove, and see how it is.

What a verb needs is imported within it, so that `obol --help` starts fast.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.parser import Verbs
from obol.cli.stack import building, identifying
from obol.cli.terminal.present import OutputFormat, Speaker
from obol.cli.verb import ExitCode, run, verb
from obol.config.paths import Invocation, locate
from obol.config.talk import talk
from obol.errors import Interrupted, NotThere, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.backends.ports import BackendName
    from obol.stack.home import Home, Identity
    from obol.stack.lifecycle import Lifecycle
    from obol.stack.plan import Choice

app = Verbs()

NoRegistryCache = Annotated[
    bool,
    typer.Option(
        "--no-registry-cache",
        help="Use no registry caches, as with OBOL_DISABLE_REGISTRY_CACHE=true.",
    ),
]
BackendOption = Annotated[
    building.AskedBackend, typer.Option("--backend", help="What to run the stack on; none only fills the caches.")
]
EngineOption = Annotated[
    building.AskedEngine,
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
Everything = Annotated[bool, typer.Option("--force", "-f", help="Remove the stack's data and images too.")]
Caches = Annotated[bool, typer.Option("--cache", help="Remove the registry caches and all that they hold too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

_INTERRUPTED = "run the same command again to do the rest."


@verb(app)
def init(
    say: Speaker,
    backend: BackendOption = building.AskedBackend.AUTO,
    force: Force = False,
) -> None:
    """Name the stack and put its manifests where you can change them.

    `obol stack up` does so by itself. Use this to look at the manifests, or to choose the backend, before.
    """
    from obol.cli.results.stack import InitResult

    around = Invocation.of_process()
    home = building.home(around)
    before = identifying.before(say, around, home, anew=force)
    if before is not None and not force:
        raise UsageError(
            f"there is a stack already: {before.stack_id} on {before.backend}",
            why=f"{home.config} has it",
            hint="bring it up with `obol stack up`, or begin anew with `obol stack init --force`",
        )
    chosen = _choose_to_run(say, backend, around)
    with building.at_work(around):
        run(say, _idle(say, around, home, chosen).check())
        if before is not None and before.backend not in {chosen, "none"}:
            _forget(say, around, home, before)
        identity = building.establish(say, home, before, chosen)
    line = f"The stack is {identity.stack_id}, on {identity.backend}. Its manifests are in {home.config / 'workloads'}."
    say.result(InitResult(identity.stack_id, identity.backend, str(home.config), str(home.workloads)), lambda: [line])


@verb(app)
def up(
    say: Speaker,
    no_registry_cache: NoRegistryCache = False,
    backend: BackendOption = building.AskedBackend.AUTO,
    cache_engine: EngineOption = building.AskedEngine.AUTO,
    file: Files = None,
    no_prefetch: NoPrefetch = False,
) -> None:
    """Bring the stack up, and wait until it answers.

    Starts the registry caches, and LiteLLM and Prometheus in a cluster of k3d, as pods of podman, or in k3s on this
    machine. If none of these is installed, it fills the caches with every image that the stack needs, and exits with 1
    if it could not fetch one.
    """
    from obol.config.stack import cache_disabled

    # Asked first, and of nothing but the environment: who turns caches off wants nothing of them touched.
    use_caches = not (cache_disabled(os.environ) or no_registry_cache)
    around = Invocation.of_process()
    home = building.home(around)
    identity = identifying.whose(say, around, home, surely=True)
    choice = run(say, building.choose(backend, identity, around.environ))
    if choice.backend == "none":
        _up_without_cluster(say, around, file, choice, use_caches=use_caches)
        return
    plans = building.cache_plans(say, around, cache_engine) if use_caches else building.idle_plans(around)
    stack = building.lifecycle(plans, home, choice.backend, say)
    with building.at_work(around):
        if identity is None:  # what is written down is what can run here
            run(say, stack.check())
        established = building.establish(say, home, identity, choice.backend)
        _raise(say, around, established, file, stack, use_caches=use_caches, prefetch=not no_prefetch)
    for line in building.ignored(plans, choice.backend):
        say.note(line)


@verb(app)
def down(say: Speaker) -> None:
    """Stop the stack. Its images and data stay, and the registry caches run on."""
    from obol.cli.results.stack import DownResult

    around = Invocation.of_process()
    home = building.home(around)
    identity = _there(say, around, home)
    with building.at_work(around):
        stack = _idle(say, around, home, identity.backend)
        stopped = run(say, stack.down(identity, building.steps(say)), _INTERRUPTED)
    line = "is stopped. Its images and data stay, and the registry caches run on" if stopped else "did not run"
    say.result(
        DownResult(identity.stack_id, identity.backend, stopped), lambda: [f"The stack {identity.stack_id} {line}."]
    )


@verb(app)
def purge(
    say: Speaker,
    force: Everything = False,
    cache: Caches = False,
    yes: Yes = False,
) -> None:
    """Remove the stack and the files that obol wrote for it. The registry caches and what they hold stay.

    Your obol.toml stays, and so do the manifests that you changed.
    """
    from obol.cli.stack.purging import Wish, dispose, purge_result, purged_lines

    around = Invocation.of_process()
    home = building.home(around)
    identity = identifying.whose(say, around, home)
    if (force or cache) and not yes:
        _confirm(force=force, cache=cache)
    backend = run(say, building.choose(building.AskedBackend.AUTO, identity, {})).backend
    plans = building.cache_plans(say, around) if cache else building.idle_plans(around)
    stack = building.lifecycle(plans, home, backend, say)
    had_caches = cache and (plans.builtin.store.exists() or locate(around).cache_root.exists())
    with building.at_work(around):
        purged = run(say, stack.purge(identity, building.steps(say), images=force, caches=cache), _INTERRUPTED)
        if cache:
            building.remove_empty_directories(around)
        data = locate(around).data
        had_data = data.exists()
        kept = dispose(data, home.config, force=force)
    result = purge_result(identity, purged, kept, Wish(force, had_caches), had_data=had_data)
    say.result(result, lambda: purged_lines(result))
    for note in result.notes:
        say.note(note)


@verb(app)
def key(say: Speaker) -> None:
    """Print the key of LiteLLM.

    As in: curl -H "Authorization: Bearer $(obol stack key)" ADDRESS/v1/models
    """
    from obol.cli.results.stack import KeyResult

    around = Invocation.of_process()
    home = building.home(around)
    found = home.key()
    if not found:
        _there(say, around, home)
        raise NotThere("LiteLLM has no key yet", hint="`obol stack up` makes one")
    say.result(KeyResult(found, str(home.key_file)), lambda: [found])


@verb(app)
def status(
    say: Speaker,
    file: Files = None,
    exit_code: ExitCode = False,
) -> None:
    """Show what runs and where it answers, what the caches hold, how the last `up` went, and the room on disk."""
    from obol.cli.stack.clusterview import shown_code, shown_parts, shown_result
    from obol.cli.stack.view import status_parts, status_result

    around = Invocation.of_process()
    home = building.home(around)
    identity = identifying.seen(say, around, home)
    plans = building.cache_plans(say, around)
    kubernetes = identity is None or identity.backend == "k3d"
    images = building.images(file, around, kubernetes=kubernetes)
    seen, disk = run(say, building.caches_only(plans.builtin).status(images)), building.room(around)
    if identity is not None:
        shown = run(say, building.lifecycle(plans, home, identity.backend, say).status(identity))
        say.result(shown_result(home, shown, seen, disk), lambda: shown_parts(home, shown, seen, disk))
        if shown.trouble:
            say.warn(f"Not all that runs is known: {shown.trouble}.")
        raise typer.Exit(shown_code(shown) if exit_code else 0)
    say.result(status_result(seen, disk), lambda: status_parts(seen, disk))
    if seen.caches is None:
        say.note("Start the caches and fill them: obol stack up")
    raise typer.Exit(NotThere.exit_code if exit_code else 0)


def _there(say: Speaker, around: Invocation, home: Home) -> Identity:
    """Which stack there is. Raises NotThere."""
    identity = identifying.whose(say, around, home)
    if identity is None:
        raise NotThere("there is no stack", why=f"{home.config} has none", hint="`obol stack up` makes one")
    return identity


def _idle(say: Speaker, around: Invocation, home: Home, backend: BackendName) -> Lifecycle:
    """The stack for what leaves the caches alone."""
    return building.lifecycle(building.idle_plans(around), home, backend, say)


def _choose_to_run(say: Speaker, asked: building.AskedBackend, around: Invocation) -> BackendName:
    """Choose a backend that runs something. Raises UsageError, DependencyMissing."""
    from obol.cli.stack.view import needed

    choice = run(say, building.choose(asked, None, around.environ))
    if choice.backend != "none":
        return choice.backend
    if not choice.looked:
        raise UsageError(
            "nothing can be initialised without a backend",
            hint="`obol stack up --backend none` fills the caches, and needs no stack",
        )
    raise needed(choice)


def _forget(say: Speaker, around: Invocation, home: Home, before: Identity) -> None:
    """Remove what runs on the backend that is not wanted any more; where that fails, it is left and said."""
    from obol.errors import ObolError

    try:
        former = _idle(say, around, home, before.backend)
        run(say, former.purge(before, building.steps(say), images=False, caches=False))
    except ObolError as problem:
        say.warn(f"obol could not remove what runs on {before.backend}, so it stays: {problem}.")


def _raise(
    say: Speaker,
    around: Invocation,
    identity: Identity,
    file: Sequence[Path] | None,
    stack: Lifecycle,
    *,
    use_caches: bool,
    prefetch: bool,
) -> None:
    """Bring a stack with a cluster up."""
    from obol.cli.stack.clusterview import raised_parts, raised_result
    from obol.machine.clock import SystemClock
    from obol.stack.lifecycle import Wanted
    from obol.workloads.images import images_of

    manifests = building.manifests(file, around)
    images, home = images_of(manifests, kubernetes=identity.backend == "k3d"), building.home(around)
    wanted = Wanted(identity, locate(around).data, manifests, images, use_caches, prefetch)
    raised = run(
        say,
        stack.up(wanted, building.steps_with_images(say, around, wanted), SystemClock()),
        "what is there stays; `obol stack up` goes on from there.",
    )
    say.result(raised_result(home, images, identity, raised), lambda: raised_parts(home, identity, raised))


def _up_without_cluster(
    say: Speaker, around: Invocation, file: Sequence[Path] | None, choice: Choice, *, use_caches: bool
) -> None:
    """Do what there is to do without a cluster: fill the caches."""
    from obol.cli.stack.view import WITHOUT_CACHE, advice, errors, untouched_result, up_parts, up_result
    from obol.cli.terminal.caches import start_warnings
    from obol.cli.terminal.progress import watching

    if not use_caches:
        say.result(untouched_result(), lambda: WITHOUT_CACHE)
        return
    images = building.images(file, around)
    stack = building.caches_only(building.cache_plans(say, around).builtin)
    with watching(say, len(images)) as progress:
        brought = run(
            say,
            stack.up(choice, images, progress, say.warn),
            "what has been fetched is kept; `obol stack up` goes on from there.",
        )
    advised = advice(brought.choice, asked=not choice.looked)
    short = [brought.short] if brought.short else []
    notes = (*short, *start_warnings(brought.caches), " ".join(line.strip() for line in advised))
    say.result(up_result(brought, notes), lambda: up_parts(brought, time.time()))
    if say.output is OutputFormat.HUMAN:  # as JSON they are part of the result
        for error in errors(brought):
            say.error(error)
    for line in start_warnings(brought.caches):
        say.warn(line)
    for line in advised:
        say.note(line)
    if not brought.complete:
        raise typer.Exit(1)


def _confirm(*, force: bool, cache: bool) -> None:
    """Ask on a terminal; scripts mean what they say."""
    if not sys.stdin.isatty() or not talk(os.environ).interactive:
        return
    what = " and ".join(
        [
            *(["the stack's data and images"] if force else []),
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
