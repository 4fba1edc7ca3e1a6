"""The engine as a service of this person: started at login, and again when it fails, by systemd or launchd.

The supervisor gets the command that a background process is started with. It does not fight with one: `enable` stops
the process that runs, and a unit that finds the store in use gives up after a minute.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from obol.caches.builtin.plan import planned_listeners
from obol.caches.clients.files import WholeFile
from obol.errors import DependencyMissing, EngineUnresponsive, ObolError
from obol.machine.clock import SystemClock
from obol.machine.polling import Polling
from obol.machine.texts import shown
from obol.rendering.units import LABEL, UserService, launchd_agent, systemd_unit

if TYPE_CHECKING:
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.caches.builtin.process import BuiltinEngine, Running
    from obol.machine.clock import Clock
    from obol.machine.commands import Completed, Runner
    from obol.machine.originals import Originals

Supervisor = Literal["systemd", "launchd"]

UNIT = "obol-cache.service"
_ASK_WITHIN = 10.0
_CHANGE_WITHIN = 60.0
_ANSWER_WITHIN = 20.0
_LOOK_EVERY = 0.1

_KEPT = frozenset({"OBOL_CONFIG_DIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONPATH", "PYTHONHOME"})
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})


@dataclass(frozen=True, slots=True)
class Enabled:
    """The engine runs as a service."""

    path: str
    """Of the unit or agent."""
    text: str
    running: Running
    differs: tuple[str, ...]
    """Where an engine that ran before was not what the settings ask for, as the service is now: a sentence each."""
    left_out: tuple[str, ...]
    """Variables that hold a password, and are therefore not in the file."""


@dataclass(frozen=True, slots=True)
class DisableResult:
    """`cache disable`."""

    path: str
    """The file of the service."""
    removed: bool
    """False: there was none."""
    running: bool
    """The engine ran as the service, and goes on as a background process."""


def unit_file(home: Path, supervisor: Supervisor) -> Path:
    """Where the unit or agent is."""
    if supervisor == "launchd":
        return home / "Library/LaunchAgents" / f"{LABEL}.plist"
    return home / ".config/systemd/user" / UNIT


def service_of(plan: BuiltinPlan) -> tuple[UserService, tuple[str, ...]]:
    """The service that does what a background process of this plan does; and the variables that are left out."""
    ports = {listener.registry: listener.port for listener in planned_listeners(plan)}
    environ, left_out = _without_secrets(plan.child_environment())
    return UserService(plan.argv(ports), environ, str(plan.log)), left_out


@dataclass(frozen=True, slots=True)
class LoginService:
    """The service of one engine."""

    plan: BuiltinPlan
    engine: BuiltinEngine
    home: Path
    uid: int
    supervisor: Supervisor
    originals: Originals
    runner: Runner
    clock: Clock = field(default_factory=SystemClock)

    async def enable(self) -> Enabled:
        """Let the engine run as a service, now and after each login. Raises ObolError, and leaves nothing then.

        An engine that runs is stopped for it; where none runs, one is started first, which chooses the ports.
        """
        self._refuse_sudo()
        await self._ask_supervisor()
        path = unit_file(self.home, self.supervisor)
        self._refuse_strange(path)
        ran = self.engine.status() is not None
        started = self.engine.start()
        service, left_out = service_of(self.plan)
        try:
            text = self._text(service)
            await self._unload()
            self.originals.write(path, WholeFile(str(path), text))
            self.engine.stop()
            await self._load(path)
            running = await self._answer()
        except ObolError:
            await self._remove(path)
            with contextlib.suppress(ObolError):  # the first problem is the one to tell
                if ran:
                    self.engine.start()
            raise
        return Enabled(str(path), text, running, started.differs, left_out)

    def _text(self, service: UserService) -> str:
        try:
            return systemd_unit(service) if self.supervisor == "systemd" else launchd_agent(service)
        except ValueError as problem:
            raise ObolError(
                f"{self.supervisor} cannot take the service",
                why=str(problem),
                hint="rename the directory or change the variable that it comes from, or run `obol cache start`",
            ) from problem

    async def disable(self) -> DisableResult:
        """Remove the service. An engine that ran goes on as a background process. Raises ObolError."""
        self._refuse_sudo()
        path = unit_file(self.home, self.supervisor)
        if not self.originals.changed_below(path):
            return DisableResult(str(path), removed=False, running=False)
        self._refuse_strange(path)
        ran = self.engine.status() is not None
        await self._remove(path)
        if ran:
            self.engine.start()
        return DisableResult(str(path), removed=True, running=ran)

    def _refuse_sudo(self) -> None:
        if self.plan.account is not None:
            raise ObolError(
                "the caches are a service of yours, not of root",
                why="sudo made this command root's",
                hint="run it without sudo",
            )

    def _refuse_strange(self, path: Path) -> None:
        """Leave alone, before anything is stopped, what another program or person wrote or changed."""
        if path.exists() and not self.originals.changed_below(path):
            raise ObolError(f"{shown(path)} is there already", why="obol did not write it", hint="move it away")
        self.originals.check_undo(path, WholeFile(str(path), ""))

    async def _ask_supervisor(self) -> None:
        """Refuse where no supervisor of this user would start the service."""
        if self.supervisor == "systemd":
            argv: tuple[str, ...] = ("systemctl", "--user", "show", "--property=Version")
            hint = "log in as this user, not by su; where there is no systemd: `obol cache start` after each start"
        else:
            argv = ("launchctl", "print", f"gui/{self.uid}")
            hint = "log in at the machine's own screen; or run `obol cache start` after each start"
        try:
            done = await self.runner.run(argv, timeout=_ASK_WITHIN)
        except DependencyMissing as problem:
            why = problem.why or problem.what
        else:
            if done.code == 0:
                return
            why = done.stderr.strip()
        raise ObolError(f"there is no {self.supervisor} of this user that could start the caches", why=why, hint=hint)

    async def _load(self, path: Path) -> None:
        if self.supervisor == "systemd":
            await self._must("systemctl", "--user", "daemon-reload")
            await self._must("systemctl", "--user", "enable", "--now", UNIT)
        else:
            await self._must("launchctl", "bootstrap", f"gui/{self.uid}", str(path))

    async def _unload(self) -> None:
        """Let the supervisor forget it, if it knows it; the engine ends with it."""
        if self.supervisor == "systemd":
            await self._may("systemctl", "--user", "disable", "--now", UNIT)
        else:
            await self._may("launchctl", "bootout", f"gui/{self.uid}/{LABEL}")

    async def _remove(self, path: Path) -> None:
        await self._unload()
        self.originals.undo(path, WholeFile(str(path), ""))
        if self.supervisor == "systemd":
            await self._may("systemctl", "--user", "daemon-reload")

    async def _must(self, *argv: str) -> None:
        done = await self._run(argv)
        if done.code:
            raise ObolError(f"`{' '.join(argv)}` failed", why=done.stderr.strip() or done.stdout.strip())

    async def _may(self, *argv: str) -> None:
        with contextlib.suppress(ObolError):
            await self._run(argv)

    async def _run(self, argv: Sequence[str]) -> Completed:
        return await self.runner.run(argv, timeout=_CHANGE_WITHIN)

    async def _answer(self) -> Running:
        """Wait until the service answers: the supervisor says only that its process was started."""
        async for _ in Polling(self.clock, every=_LOOK_EVERY, within=_ANSWER_WITHIN):
            with contextlib.suppress(EngineUnresponsive):
                if (found := self.engine.status()) is not None:
                    return found
        raise EngineUnresponsive(
            f"the cache engine does not answer {_ANSWER_WITHIN:g} seconds after {self.supervisor} started it",
            hint="`obol cache logs` may say why",
        )


def _without_secrets(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Settings only: the file may be copied and shown. A proxy's address is one, unless it has a password."""
    found, left_out = {}, []
    for name, value in environ.items():
        if name.upper() in _PROXIES and "@" in value:
            left_out.append(name)
        elif name in _KEPT or name.startswith("OBOL_CACHE_") or name.upper() in _PROXIES:
            found[name] = value
    return found, tuple(left_out)
