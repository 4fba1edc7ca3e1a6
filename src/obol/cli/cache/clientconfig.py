"""`obol cache config`: how the container clients of this machine find the caches, shown, written or undone."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.cache import commands as cache
from obol.cli.cache.options import Store
from obol.cli.terminal.present import AsIs, OutputFormat, Speaker, tilde
from obol.cli.verb import run, verb
from obol.config.paths import Invocation, expand, locate
from obol.errors import EngineUnresponsive, NotThere, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obol.caches.clients.clients import Setup
    from obol.caches.clients.place import Place
    from obol.cli.results.cache import FileChange, FileText
    from obol.machine.commands import Runner
    from obol.machine.originals import EditedFile, Originals
    from obol.rendering.registries import Mirror


class Client(StrEnum):
    """What can be pointed at the caches."""

    DOCKER = "docker"
    PODMAN = "podman"
    CONTAINERD = "containerd"
    BUILDKIT = "buildkit"
    SKOPEO = "skopeo"


_TAKEN_OUT = "what obol wrote was taken out again"
_IN_A_FILE = frozenset({Client.DOCKER, Client.BUILDKIT})
_PER_PERSON = frozenset({Client.PODMAN, Client.SKOPEO})

Which = Annotated[Client, typer.Argument(help="The client.", show_default=False)]
Write = Annotated[bool, typer.Option("--write", help="Write it, and keep a copy of what was there.")]
Undo = Annotated[bool, typer.Option("--undo", help="Put back what was there before --write.")]
PerUser = Annotated[
    bool | None,
    typer.Option(
        "--user/--system",
        help="Your own configuration (of rootless Docker, BuildKit or nerdctl, too), or the machine's (default: your "
        "own for podman and skopeo unless you are root, else the machine's).",
        show_default=False,
    ),
]
File = Annotated[
    str | None, typer.Option("--file", metavar="FILE", help="Another file than the usual one (docker, buildkit).")
]
Directory = Annotated[
    str | None,
    typer.Option(
        "--directory", metavar="DIR", help="Another directory than the usual one (podman, skopeo, containerd)."
    ),
]


@verb(cache.app)
def config(
    say: Speaker,
    client: Which,
    write: Write = False,
    undo: Undo = False,
    per_user: PerUser = None,
    file: File = None,
    directory: Directory = None,
    store: Store = None,
) -> None:
    """Point a container client of this machine at the caches.

    Shows what to put where, with the ports as they are. --write puts it there, and --undo takes it away again.
    """
    if write and undo:
        raise UsageError("--write and --undo exclude each other", hint="leave one of them out")
    around = Invocation.of_process()
    place = _place(client, per_user, file if client in _IN_A_FILE else directory, around)
    if (directory if client in _IN_A_FILE else file) is not None:
        right, wrong = ("--file", "--directory") if client in _IN_A_FILE else ("--directory", "--file")
        raise UsageError(f"{wrong} does not fit {client}", hint=f"use {right}")
    if undo:
        _undo(say, client, place, originals(around))
        return
    from obol.caches.clients import clients
    from obol.caches.clients.checks import write_checked

    wanted = clients.setup(client.value, _mirrors(say, around, store), place)
    writing = write_checked(wanted, place, originals(around), runner()) if write else None
    changes = run(say, writing, _TAKEN_OUT) if writing is not None else ()
    _show(say, wanted, changes)


def runner() -> Runner:
    """The way to run programs."""
    from obol.machine.commands import SystemRunner

    return SystemRunner()


def _undo(say: Speaker, client: Client, place: Place, records: Originals) -> None:
    from obol.caches.clients import clients
    from obol.cli.results.cache import ConfigResult

    changes = clients.undo(client.value, place, records)
    if not changes:
        raise NotThere(
            "there is nothing to undo",
            why=f"obol has written nothing for {client} there",
            hint="an undo takes the options that the --write had: --user, --system, --file, --directory",
        )
    restart = clients.restart_of(client.value, place)
    lines = [_SAID[change.action].format(tilde(change.path)) for change in changes]
    result = ConfigResult(client, (), _told(changes), restart, ())
    say.result(result, lambda: lines)
    if restart:
        say.note(f"It holds after: {restart}")


_SAID = {
    "written": "Wrote {}:",
    "unchanged": "{} says so already:",
    "restored": "{} is as it was.",
    "removed": "Removed {}: there was none before.",
    "merged": "Took our part out of {}; what was changed since stays.",
    "gone": "{} has nothing of ours any more.",
}


def _show(say: Speaker, wanted: Setup, changes: tuple[EditedFile, ...]) -> None:
    from obol.cli.results.cache import ConfigResult, FileText

    files = tuple(FileText(str(one.path), one.text) for one in wanted.files)
    result = ConfigResult(wanted.client, files, _told(changes), wanted.restart, wanted.notes)
    say.result(result, lambda: _lines(files, changes))
    if say.output is OutputFormat.JSON:
        return
    for note in wanted.notes:
        say.note(note)
    if not changes:
        say.note("To write it there: the same command with --write; --undo puts back what was there.")
    elif wanted.restart and any(change.action != "unchanged" for change in changes):
        say.note(f"It holds after: {wanted.restart}")


def _told(changes: Iterable[EditedFile]) -> tuple[FileChange, ...]:
    from obol.cli.results.cache import FileChange

    return tuple(FileChange(change.path, change.action) for change in changes)


def _lines(files: Iterable[FileText], changes: tuple[EditedFile, ...]) -> list[str]:
    """Each file under a line that says what became of it; files that went come first, and alone."""
    own = changes[-len(tuple(files)) :] if changes else ()
    lines = [_SAID[change.action].format(tilde(change.path)) for change in changes[: len(changes) - len(own)]]
    for number, file in enumerate(files):
        title = _SAID[own[number].action].format(tilde(file.path)) if own else f"{tilde(file.path)}:"
        lines += [title, "", AsIs(file.text)]
    return lines


def _place(client: Client, per_user: bool | None, given: str | None, around: Invocation) -> Place:
    from obol.caches.clients.place import Place
    from obol.config.background import sudo_account

    own = (client in _PER_PERSON and os.geteuid() != 0) if per_user is None else per_user
    path = None if given is None else expand(given, around)
    owner = sudo_account(around.environ, os.geteuid()) if own else None
    return Place(around.home, own, path, owner=owner, environ=around.environ)


def originals(around: Invocation) -> Originals:
    """What files of other programs held before us."""
    from obol.config.background import sudo_account
    from obol.machine.originals import Originals

    return Originals(locate(around).state / "clients", sudo_account(around.environ, os.geteuid()))


def _mirrors(say: Speaker, around: Invocation, store: str | None) -> tuple[Mirror, ...]:
    """Where the caches are: by what runs, or else by the settings and the ports that are remembered."""
    import contextlib

    from obol.caches.reachable import addresses_of, planned_listeners
    from obol.cli.cache import containers as cachecontainers
    from obol.config.sources import CacheFlags
    from obol.rendering.registries import Mirror

    plan = cache.planned(around, CacheFlags(store=store))
    listeners = planned_listeners(plan)
    with contextlib.suppress(EngineUnresponsive):  # it may be starting
        if (running := cache.engine_for(plan).status()) is not None:
            listeners = running.status.listeners
        elif there := cachecontainers.look(say, around, store):
            listeners = cachecontainers.instead(there, listeners)
    return tuple(Mirror(registry, base) for registry, base in addresses_of(listeners).items())
