"""`obol cache config`: how the container clients of this machine find the caches, shown, written or undone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from obol.caches.builtin.plan import planned_listeners
from obol.caches.clients import clients
from obol.caches.clients.clients import write_checked
from obol.caches.clients.files import ConfigHome
from obol.caches.reachable import addresses_of
from obol.cli.cache import engines
from obol.cli.cache.options import Client
from obol.cli.results.cache import ConfigResult, FileChange, FileText
from obol.cli.terminal.present import AsIs, OutputFormat, tilde
from obol.cli.verb import run
from obol.config.background import sudo_account
from obol.config.paths import Invocation, expand, locate
from obol.config.sources import CacheFlags
from obol.errors import EngineUnresponsive, NotThere, UsageError
from obol.machine.commands import SystemRunner
from obol.machine.originals import Originals
from obol.registry.control.api import Listener
from obol.rendering.names import LOOPBACK
from obol.rendering.registries import Mirror

if TYPE_CHECKING:
    from obol.caches.clients.clients import Setup
    from obol.caches.containers.engine import ContainerSeen
    from obol.cli.cache.options import ConfigOptions
    from obol.cli.terminal.present import Speaker
    from obol.machine.commands import Runner
    from obol.machine.originals import EditedFile

_TAKEN_OUT = "what obol wrote was taken out again"
_IN_A_FILE = frozenset({Client.DOCKER, Client.BUILDKIT})
_PER_PERSON = frozenset({Client.PODMAN, Client.SKOPEO})


def config(say: Speaker, client: Client, options: ConfigOptions) -> None:
    """Show what to put where, put it there, or take it away again."""
    if options.write and options.undo:
        raise UsageError("--write and --undo exclude each other", hint="leave one of them out")
    around = Invocation.of_process()
    given, wrong = (options.file, options.directory)[:: 1 if client in _IN_A_FILE else -1]
    where = _config_home(client, options.per_user, given, around)
    if wrong is not None:
        right, other = ("--file", "--directory") if client in _IN_A_FILE else ("--directory", "--file")
        raise UsageError(f"{other} does not fit {client}", hint=f"use {right}")
    if options.undo:
        _undo(say, client, where, originals(around))
        return
    wanted = clients.setup(client.value, _mirrors(say, around, options.store), where)
    writing = write_checked(wanted, where, originals(around), runner()) if options.write else None
    changes = run(say, writing, _TAKEN_OUT) if writing is not None else ()
    _show(say, wanted, changes)


def runner() -> Runner:
    """The way to run programs."""
    return SystemRunner()


def _undo(say: Speaker, client: Client, where: ConfigHome, records: Originals) -> None:
    changes = clients.undo(client.value, where, records)
    if not changes:
        raise NotThere(
            "there is nothing to undo",
            why=f"obol has written nothing for {client} there",
            hint="an undo takes the options that the --write had: --user, --system, --file, --directory",
        )
    restart = clients.restart_of(client.value, where)
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
    return tuple(FileChange(change.path, change.action) for change in changes)


def _lines(files: Iterable[FileText], changes: tuple[EditedFile, ...]) -> list[str]:
    """Each file under a line that says what became of it; files that went come first, and alone."""
    own = changes[-len(tuple(files)) :] if changes else ()
    lines = [_SAID[change.action].format(tilde(change.path)) for change in changes[: len(changes) - len(own)]]
    for number, file in enumerate(files):
        title = _SAID[own[number].action].format(tilde(file.path)) if own else f"{tilde(file.path)}:"
        lines += [title, "", AsIs(file.text)]
    return lines


def _config_home(client: Client, per_user: bool | None, given: str | None, around: Invocation) -> ConfigHome:
    own = (client in _PER_PERSON and os.geteuid() != 0) if per_user is None else per_user
    path = None if given is None else expand(given, around)
    owner = sudo_account(around.environ, os.geteuid()) if own else None
    return ConfigHome(around.home, own, path, owner=owner, environ=around.environ)


def originals(around: Invocation) -> Originals:
    """What files of other programs held before us."""
    return Originals(locate(around).state / "clients", sudo_account(around.environ, os.geteuid()))


def _mirrors(say: Speaker, around: Invocation, store: str | None) -> tuple[Mirror, ...]:
    """Where the caches are: by what runs, or else by the settings and the ports that are remembered."""
    plan = engines.planned(around, CacheFlags(store=store))
    listeners = planned_listeners(plan)
    with contextlib.suppress(EngineUnresponsive):  # it may be starting
        if (running := engines.engine_for(plan).status()) is not None:
            listeners = running.status.listeners
        elif there := engines.look(say, around, store):
            listeners = _instead(there, listeners)
    return tuple(Mirror(registry, base) for registry, base in addresses_of(listeners).items())


def _instead(there: Sequence[ContainerSeen], planned: Sequence[Listener]) -> tuple[Listener, ...]:
    """Where the caches are that are containers, beside those that the builtin engine would have."""
    ports = {one.cache.registry: one.port for one in there if one.cache.upstream and one.port}
    serving = (Listener(registry, LOOPBACK, port) for registry, port in ports.items())
    return (*serving, *(one for one in planned if one.registry not in ports))
