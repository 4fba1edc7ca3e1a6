"""The builtin engine as a process of its own in the background, known by its store.

It is found by its control socket and by the lock on its store, never by a pid file: the lock goes with the process,
however it ends. It has no supervisor; `start` is cheap to repeat, and each command that needs the caches repeats it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from obol import __version__
from obol.caches.builtin import log as enginelog
from obol.caches.reachable import EVERYWHERE, Substitute, as_it_is, not_ours, recall, remember, settle
from obol.errors import EngineNotRunning, EngineUnresponsive, PortTaken, StoreUnusable
from obol.machine import locks, ports, processes
from obol.machine.clock import SystemClock
from obol.machine.files import failing_as
from obol.machine.polling import Polling
from obol.registry.control.api import LAST_TRANSFERS, AccountStatus, EngineStatus, Inventory, Listener, gives_way
from obol.registry.control.client import ControlClient

if TYPE_CHECKING:
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.machine.clock import Clock
    from obol.machine.commands import User
    from obol.machine.ports import PortProbe

_TRIES = 3
_START_WITHIN = 10.0
_END_WITHIN = LAST_TRANSFERS + 10.0
"""Seconds from the order to stop."""
_TERMINATE_WITHIN = 5.0
_LOOK_EVERY = 0.05
_LOG_LINES = 8


class Child(Protocol):
    """A process that we started."""

    pid: int

    def poll(self) -> int | None:
        """Give its exit code; None while it runs."""
        ...


class Host:
    """What starting and ending processes takes of this machine."""

    def detach(self, argv: Sequence[str], *, env: Mapping[str, str], output: int, account: User | None = None) -> Child:
        """Start a program that outlives us."""
        return processes.detach(argv, env=env, output=output, account=account)

    def kill(self, pid: int, number: int) -> None:
        """Send a signal."""
        os.kill(pid, number)


@dataclass(frozen=True, slots=True)
class Started:
    """The engine runs."""

    status: EngineStatus
    already: bool
    """It ran before we were asked."""
    substitutes: tuple[Substitute, ...] = ()
    differs: tuple[str, ...] = ()
    """How an engine that ran before differs from what was asked for: a sentence each."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is there when one asks."""

    status: EngineStatus
    substitutes: tuple[Substitute, ...] = ()


class BuiltinEngine:
    """The builtin engine that serves a store, whether or not it runs."""

    def __init__(
        self,
        plan: BuiltinPlan,
        *,
        host: Host | None = None,
        probe: PortProbe = ports,
        clock: Clock | None = None,
    ) -> None:
        self._plan = plan
        self._control = ControlClient(plan.store)
        self._host = host or Host()
        self._probe = probe
        self._clock = clock or SystemClock()

    def status(self) -> Running | None:
        """Ask the engine; None where it does not run."""
        try:
            found = self._control.status()
        except EngineNotRunning:
            if (pid := self._lock_holder()) is None:
                return None
            raise EngineUnresponsive(
                "the cache engine runs, but does not listen on its control socket",
                why=f"{_process(pid)} owns the store {self._plan.store}",
                hint="it may be starting or ending: try again, or see `obol cache logs`; `obol cache stop` ends it",
            ) from None
        return Running(found, self._substitutes_of(found))

    def start(self) -> Started:
        """Make it run, if it does not; one of an older version that is idle is started again."""
        if self._lock_holder() is not None:
            with contextlib.suppress(EngineNotRunning):  # it was about to end
                found = self._await_answer(None, 0)
                if not gives_way(found, __version__):
                    return self._already(found)
                self.stop()
        account = self._prepare_store()
        substitutes = self._settle()
        for _ in range(_TRIES):
            child, since = self._launch(self._chosen(substitutes), account)
            try:
                found = self._await_answer(child, since)
            except EngineUnresponsive:
                # Another program that starts now, such as another user's engine, may have taken a port meanwhile.
                if child.poll() is None or (now := self._settle()) == substitutes:
                    raise
                substitutes = now
                continue
            if found.pid != child.pid:  # another command was faster
                return self._already(found)
            return Started(found, False, substitutes)
        raise PortTaken("the ports of the caches are taken again and again", hint="choose others: --port HOST=PORT")

    def stop(self) -> bool:
        """Make it end, and wait until its store is free."""
        try:
            self._control.stop()
        except EngineNotRunning:
            if self._lock_holder() is None:
                return False
        except EngineUnresponsive:
            pass  # it gets a signal instead
        else:
            if self._freed_within(_END_WITHIN):
                return True
        pid = self._lock_holder()
        if pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._host.kill(pid, signal.SIGTERM)
        if pid is None or self._freed_within(_TERMINATE_WITHIN):
            return True
        raise EngineUnresponsive(
            "the cache engine does not end",
            why=f"{_process(pid)} still owns the store {self._plan.store}",
            hint=f"end it by force: `kill -9 {pid}`; what it has stored stays intact" if pid else "",
        )

    def images(self) -> Inventory:
        """List what is held."""
        return self._control.images()

    def listen(self, listener: Listener) -> Listener:
        """Serve one more address, without a restart."""
        return self._control.listen(listener)

    def open_account(self, listeners: Sequence[Listener]) -> AccountStatus:
        """Count from now on what each client is given, with ports for our own."""
        return self._control.open_account(listeners)

    def close_account(self, name: str) -> AccountStatus:
        """Tell what an account has come to, and close it."""
        return self._control.close_account(name)

    def _settle(self) -> tuple[Substitute, ...]:
        """Choose ports, and remember them; those of registries that are left out this time stay remembered."""
        remembered = recall(self._plan.store)
        substitutes = settle(self._plan.listeners, remembered, self._probe)
        ours = {listener.registry for listener in self._plan.listeners}
        others = [substitute for registry, substitute in remembered.items() if registry not in ours]
        with _usable(self._plan.store):
            remember(self._plan.store, [*others, *substitutes])
        return substitutes

    def _chosen(self, substitutes: Sequence[Substitute]) -> dict[str, int]:
        ports = {listener.registry: listener.port for listener in self._plan.listeners}
        return ports | {substitute.registry: substitute.port for substitute in substitutes}

    def _launch(self, chosen: Mapping[str, int], account: User | None) -> tuple[Child, int]:
        """Start the process; gives it, and the size of the log before its first line."""
        log = self._plan.log
        with _usable(log):
            enginelog.rotate(log)
            output = enginelog.open_log(log)
        try:
            if account:
                os.fchown(output, account.uid, account.gid)
            since = os.fstat(output).st_size
            argv, env = self._plan.argv(chosen), self._plan.child_environment()
            return self._host.detach(argv, env=env, output=output, account=account), since
        except OSError as problem:
            raise EngineUnresponsive(
                "the cache engine cannot be started",
                why=str(problem),
                hint="run the command without sudo" if account else "",
            ) from problem
        finally:
            os.close(output)

    def _await_answer(self, child: Child | None, since: int) -> EngineStatus:
        """Wait for the control socket, unless the process ends first: the child, or the one that owns the store."""
        for _ in Polling(self._clock, every=_LOOK_EVERY, within=_START_WITHIN):
            ended = child is None or child.poll() is not None
            with contextlib.suppress(EngineNotRunning):
                return self._control.status()
            if ended and self._lock_holder() is None:
                if child is None:
                    raise EngineNotRunning("the cache engine is not running")
                raise EngineUnresponsive(
                    "the cache engine did not start",
                    why=self._last_words(since),
                    hint="`obol cache serve` with the same options shows it in the foreground",
                )
        raise EngineUnresponsive(
            f"the cache engine does not answer after {_START_WITHIN:g} seconds",
            why=self._last_words(since),
            hint="its process goes on: `obol cache status` tells when it answers, `obol cache stop` ends it",
        )

    def _last_words(self, since: int) -> str:
        """The end of the log, which is where a process that ends says why."""
        return "\n".join(enginelog.last_lines(self._plan.log, _LOG_LINES, since=since)).removeprefix("error: ")

    def _prepare_store(self) -> User | None:
        """Create the directory; gives whose process it is to be, if not ours."""
        store, account = self._plan.store, self._plan.account
        with _usable(store):
            nearest = next(path for path in (store, *store.parents) if path.exists())
            if account and _owner(nearest) != account.uid:
                account = None
            for missing in [path for path in (*reversed(store.parents), store) if not path.exists()]:
                missing.mkdir(mode=0o700, exist_ok=True)
                if account:
                    os.chown(missing, account.uid, account.gid)
            if not store.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is not a directory")
        return account

    def _already(self, found: EngineStatus) -> Started:
        return Started(found, True, self._substitutes_of(found), self._differences(found))

    def _substitutes_of(self, found: EngineStatus) -> tuple[Substitute, ...]:
        served = {(listener.registry, listener.port): listener.address for listener in reversed(found.listeners)}
        known = (one for one in recall(self._plan.store).values() if (one.registry, one.port) in served)
        seen = (as_it_is(one, (served[one.registry, one.port],), self._probe) for one in known)
        return tuple(not_ours(one, found.pid) for one in seen)

    def _differences(self, found: EngineStatus) -> tuple[str, ...]:
        """Where an engine that runs already is not what was asked for."""
        standing = {(s.registry, s.wanted) for s in self._substitutes_of(found)}
        differs = [
            f"{wanted.registry} is not served on {wanted.address}" + (f" port {wanted.port}" if wanted.port else "")
            for wanted in self._plan.listeners
            if (wanted.registry, wanted.port) not in standing
            and not any(_serves(own, wanted) for own in found.listeners)
        ]
        unasked = {own.address for own in found.listeners} - {wanted.address for wanted in self._plan.listeners}
        differs += [f"it listens on {address} too" for address in sorted(unasked) if address in EVERYWHERE]
        if found.version != __version__:
            differs.append(f"it is of version {found.version}, not {__version__}")
        if found.offline != self._plan.offline:
            differs.append(f"it is {'offline' if found.offline else 'online'}")
        return tuple(differs)

    def _freed_within(self, seconds: float) -> bool:
        polling = Polling(self._clock, every=_LOOK_EVERY, within=seconds)
        return any(self._lock_holder() is None for _ in polling)

    def _lock_holder(self) -> int | None:
        """Give the pid of the process that owns the store, 0 where it has not said; None where the store is free.

        Raises StoreUnusable where we may not look.
        """
        with _usable(self._plan.store):
            return locks.holder(self._plan.store)


def _serves(own: Listener, wanted: Listener) -> bool:
    return (
        own.registry == wanted.registry
        and wanted.port in {0, own.port}
        and own.address in {wanted.address, *EVERYWHERE}
    )


def _owner(path: Path) -> int:
    return path.stat().st_uid


def _process(pid: int) -> str:
    return f"process {pid}" if pid else "a process"


def _usable(path: Path) -> AbstractContextManager[None]:
    """Turn an OSError into StoreUnusable."""
    hint = "choose another directory: `--store DIR`, or OBOL_REGISTRY_CACHE_DIR for all caches"
    return failing_as(f"{path} cannot be used", hint, StoreUnusable)
