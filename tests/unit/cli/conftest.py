from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from obol.backends.ports import Program, Runtimes
from obol.caches.ports import Running, Started, Substitute
from obol.cli import main
from obol.cli.cache import engines
from obol.cli.stack import building, identifying
from obol.config.paths import Invocation, locate
from obol.registry.control.api import EngineStatus, Inventory, Listener
from obol.stack.adoption import Clusters
from obol.stack.home import Home
from obol.stack.nocluster import CachesOnly
from tests.fakes import jsonshape
from tests.fakes.clock import FakeClock
from tests.fakes.control import status_body
from tests.unit.stack import clusterworld
from tests.unit.stack.world import FakeCaches, FakeWarmth

if TYPE_CHECKING:
    from obol.caches.builtin.plan import BuiltinPlan
    from obol.cli.terminal.present import Speaker
    from obol.config.background import CachePlans
    from obol.registry.settings import EngineSettings
    from obol.stack.lifecycle import Lifecycle


TALK = ("OBOL_OUTPUT", "OBOL_VERBOSE", "OBOL_QUIET", "OBOL_NONINTERACTIVE")


def engine_status(ports: dict[str, int] | None = None) -> EngineStatus:
    """What a running engine says."""
    return msgspec.json.decode(status_body(Path("/s"), ports=ports), type=EngineStatus)


@dataclass
class FakeEngine:
    """A `CacheEngine` that does as told."""

    running: Running | None = None
    started: Started | None = None
    problem: BaseException | None = None
    held: Inventory = field(default_factory=lambda: Inventory(()))
    plans: list[BuiltinPlan] = field(default_factory=list)

    def start(self) -> Started:
        """Start."""
        if self.problem:
            raise self.problem
        return self.started or Started(engine_status(), already=False)

    def stop(self) -> bool:
        """Stop."""
        if self.problem:
            raise self.problem
        return self.running is not None

    def status(self) -> Running | None:
        """Tell."""
        if self.problem:
            raise self.problem
        return self.running

    def images(self) -> Inventory:
        """List."""
        if self.problem:
            raise self.problem
        return self.held

    def listen(self, listener: Listener) -> Listener:
        """Not used here."""
        raise NotImplementedError(listener)


class Screen(io.StringIO):
    """A terminal, as far as a program can see."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@dataclass
class Terminal:
    """Somebody at a terminal: runs `obol …` in this process."""

    capture: pytest.CaptureFixture[str]
    engine: FakeEngine
    clusters: Clusters = field(default_factory=Clusters)
    """Those that are on this machine's Docker."""
    out: str = ""
    err: str = ""

    def run(self, line: str) -> int:
        """Run a command line that contains no quotes; gives the exit code. JSON is held to its schema."""
        code = main.run(line.split())
        self.out, self.err = self.capture.readouterr()
        jsonshape.hold(line.split(), self.out, self.err)
        return code


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Terminal:
    """A terminal with an engine that does not run, and a home of its own."""
    engine = FakeEngine()

    def engine_for(plan: BuiltinPlan) -> FakeEngine:
        engine.plans.append(plan)
        return engine

    monkeypatch.setattr(engines, "engine_for", engine_for)
    for name in (
        "XDG_CONFIG_HOME",
        "XDG_STATE_HOME",
        "OBOL_DEVELOPMENT",
        "SUDO_USER",
        "SUDO_UID",
        "OBOL_CACHE_STORE",
        *TALK,
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OBOL_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("OBOL_REGISTRY_CACHE_DIR", str(tmp_path / "caches"))
    monkeypatch.setenv("COLUMNS", "80")
    found = Terminal(capsys, engine)

    async def clusters(around: Invocation, home: Home) -> Clusters:
        return found.clusters

    monkeypatch.setattr(identifying, "clusters", clusters)
    return found


@dataclass
class Served:
    """What was served: settings, the format of the log, its level."""

    code: int = 7
    calls: list[tuple[EngineSettings, str, int]] = field(default_factory=list)

    def serve(self, settings: EngineSettings, *, log_format: str, log_level: int) -> int:
        """Serve nothing."""
        self.calls.append((settings, log_format, log_level))
        return self.code


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """An engine in this process that serves nothing."""
    found = Served()
    monkeypatch.setattr("obol.wiring.engine.serve", found.serve)
    return found


HUB_SUBSTITUTE = Substitute("docker.io", 54100, 40000, "nginx (pid 7)")


@dataclass
class StackWorld:
    """What the verbs act upon."""

    caches: FakeCaches = field(default_factory=FakeCaches)
    warmth: FakeWarmth = field(default_factory=FakeWarmth)
    runtimes: Runtimes = field(default_factory=lambda: Runtimes(Program("docker"), Program("k3d"), Program("podman")))
    plans: list[BuiltinPlan] = field(default_factory=list)
    looks: int = 0


@pytest.fixture
def stack_world(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> StackWorld:
    """A stack on nothing, on a machine without a runtime."""
    found = StackWorld()

    def caches_only(plan: BuiltinPlan) -> CachesOnly:
        found.plans.append(plan)
        return CachesOnly(found.caches, found.warmth, FakeClock())

    async def runtimes() -> Runtimes:
        found.looks += 1
        return found.runtimes

    monkeypatch.setattr(building, "caches_only", caches_only)
    monkeypatch.setattr(building, "runtimes", runtimes)
    monkeypatch.delenv("OBOL_DISABLE_REGISTRY_CACHE", raising=False)
    return found


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, stack_world: StackWorld, tmp_path: Path) -> clusterworld.World:
    """A machine with podman, and a stack that does as told."""
    stack_world.runtimes = Runtimes(Program("docker"), Program("k3d"), Program("podman", version="4.3.1"))
    stack = clusterworld.World(Home(locate(Invocation.of_process()).config), clusterworld.FakeBackend(name="podman"))
    asked: list[tuple[str, str]] = []

    def lifecycle(plans: CachePlans, home: Home, backend: str, say: Speaker) -> Lifecycle:
        asked.append((backend, plans.engine))
        return stack.stack

    monkeypatch.setattr(building, "lifecycle", lifecycle)
    monkeypatch.setenv("OBOL_DATA_DIR", str(tmp_path / "data"))
    return stack
