import io
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from obol.backends.ports import BACKENDS, BackendName, Program, Runtimes
from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import BuiltinEngine, Running, Started
from obol.caches.reachable import Substitute
from obol.cli import main
from obol.cli.cache import engines
from obol.cli.stack import commands
from obol.config.background import CachePlans
from obol.config.paths import Invocation, locate
from obol.registry.control.api import EngineStatus, Inventory
from obol.registry.settings import EngineSettings
from obol.stack.adoption import Clusters
from obol.stack.home import Home
from obol.stack.lifecycle import Lifecycle
from obol.stack.stacks import Machine
from tests.fakes import jsonshape
from tests.fakes.control import status_body
from tests.unit.stack import world
from tests.unit.stack.world import FakeCaches

NO_RUNTIMES = Runtimes(tuple(map(Program, ("docker", "k3d", "podman", "k3s"))))
TALK = ("OBOL_OUTPUT", "OBOL_VERBOSE", "OBOL_QUIET", "OBOL_NONINTERACTIVE")


def engine_status(ports: dict[str, int] | None = None) -> EngineStatus:
    """What a running engine says."""
    return msgspec.json.decode(status_body(Path("/s"), ports=ports), type=EngineStatus)


@dataclass
class FakeEngine(BuiltinEngine):
    """An engine that does as told."""

    running: Running | None = None
    started: Started | None = None
    problem: BaseException | None = None
    held: Inventory = field(default_factory=lambda: Inventory(()))
    plans: list[BuiltinPlan] = field(default_factory=list)

    def start(self) -> Started:
        if self.problem:
            raise self.problem
        return self.started or Started(engine_status(), already=False)

    def stop(self) -> bool:
        if self.problem:
            raise self.problem
        return self.running is not None

    def status(self) -> Running | None:
        if self.problem:
            raise self.problem
        return self.running

    def images(self) -> Inventory:
        if self.problem:
            raise self.problem
        return self.held


class Screen(io.StringIO):
    """A terminal, as far as a program can see."""

    def isatty(self) -> bool:
        return True


@dataclass
class Terminal:
    """Somebody at a terminal: runs `obol …` in this process."""

    capture: pytest.CaptureFixture[str]
    engine: FakeEngine
    clusters: Clusters = field(default_factory=Clusters)
    """Those that are on this machine's Docker."""
    runtimes: Runtimes = NO_RUNTIMES
    looks: int = 0
    stacks: dict[str, world.World] = field(default_factory=dict)
    """By backend: what its stack is made of."""
    plans: list[CachePlans] = field(default_factory=list)
    out: str = ""
    err: str = ""

    @property
    def machine(self) -> Machine:
        """This machine, for the verbs of the stack."""

        def lifecycle(backend: BackendName, plans: CachePlans, home: Home) -> Lifecycle:
            self.plans.append(plans)
            return self.stacks[backend].stack if BACKENDS[backend].runs else self.stacks[backend].on_none

        async def runtimes() -> Runtimes:
            self.looks += 1
            return self.runtimes

        async def clusters(home: Home, data: Path) -> Clusters:
            return self.clusters

        return Machine(lifecycle, runtimes, lambda program: self.runtimes.answers((program,)), clusters)

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
    monkeypatch.setattr(commands, "machine", lambda say: found.machine)
    return found


@dataclass
class Served:
    """What was served: settings, the format of the log, its level."""

    code: int = 7
    calls: list[tuple[EngineSettings, str, int]] = field(default_factory=list)

    def serve(self, settings: EngineSettings, *, log_format: str, log_level: int) -> int:
        self.calls.append((settings, log_format, log_level))
        return self.code


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """An engine in this process that serves nothing."""
    found = Served()
    monkeypatch.setattr("obol.wiring.engine.serve", found.serve)
    return found


HUB_SUBSTITUTE = Substitute("docker.io", 54100, 40000, "nginx (pid 7)")


@pytest.fixture
def stack_world(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> world.World:
    """A stack on nothing, on a machine without a runtime."""
    home = Home(locate(Invocation.of_process()).config)
    found = terminal.stacks["none"] = world.World(home, engine=FakeCaches())
    monkeypatch.delenv("OBOL_DISABLE_REGISTRY_CACHE", raising=False)
    return found


@pytest.fixture
def cluster(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, stack_world: world.World, tmp_path: Path
) -> world.World:
    """A machine with podman, and a stack that does as told, whichever backend it is on."""
    terminal.runtimes = Runtimes((*NO_RUNTIMES.programs[:2], Program("podman", version="4.3.1"), Program("k3s")))
    stack = world.World(stack_world.home, world.FakeBackend(name="podman"), engine=stack_world.engine)
    terminal.stacks |= dict.fromkeys(("k3d", "podman"), stack)
    monkeypatch.setenv("OBOL_DATA_DIR", str(tmp_path / "data"))
    return stack
