import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from obol.caches.builtin.atlogin import LoginService, Supervisor, service_of, unit_file
from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import BuiltinEngine, Running, Started
from obol.caches.reachable import Substitute, remember
from obol.errors import EngineUnresponsive, ObolError
from obol.machine.commands import User
from obol.machine.originals import Originals
from obol.registry.control.api import EngineStatus, Listener
from tests.fakes.clock import FakeClock
from tests.fakes.control import status_body
from tests.fakes.runner import FakeRunner


def answer() -> EngineStatus:
    """What an engine says."""
    return msgspec.json.decode(status_body(Path("/s")), type=EngineStatus)


@dataclass
class World(BuiltinEngine):
    """An engine, and a supervisor that runs it: one at a time."""

    runner: FakeRunner
    runs: bool = False
    acts: list[str] = field(default_factory=list)
    silent: int = 0
    """How often a service that was started does not answer yet."""

    def start(self) -> Started:
        self.acts.append("start")
        already, self.runs = self.runs, True
        return Started(answer(), already)

    def stop(self) -> bool:
        self.acts.append("stop")
        ran, self.runs = self.runs, False
        return ran

    def status(self) -> Running | None:
        """Ask it; the supervisor may have started it meanwhile."""
        supervised = any("enable --now" in line or "bootstrap" in line for line in self.runner.lines)
        if supervised and not self.runs and self.silent:
            self.silent -= 1
            if self.silent % 2:
                raise EngineUnresponsive("it is starting")
            return None
        return Running(answer()) if self.runs or supervised else None


@pytest.fixture
def world() -> World:
    """Nothing runs."""
    return World(FakeRunner())


def edit(path: str) -> None:
    """Let somebody change a file."""
    Path(path).write_text("edited")


def names(directory: Path) -> list[str]:
    """What is in a directory."""
    return [path.name for path in directory.iterdir()]


def service(tmp_path: Path, world: World, supervisor: Supervisor = "systemd") -> LoginService:
    """The service of a person whose home is the temporary directory."""
    listeners = (Listener("docker.io", "127.0.0.1", 54100), Listener("ghcr.io", "127.0.0.1", 54101))
    environ = {"HTTPS_PROXY": "http://me:secret@proxy", "NO_PROXY": "x", "TOKEN": "secret", "OBOL_CACHE_TAG_TTL": "5m"}
    (tmp_path / "store").mkdir(exist_ok=True)
    plan = BuiltinPlan(tmp_path / "store", listeners, environ=environ, config=tmp_path / "config")
    originals = Originals(tmp_path / "state")
    return LoginService(plan, world, tmp_path, 1000, supervisor, originals, world.runner, FakeClock())


def test_service_of(tmp_path: Path, world: World) -> None:
    """The service has the ports that are remembered, and of the environment settings only."""
    plan = service(tmp_path, world).plan
    remember(plan.store, [Substitute("docker.io", 54100, 40000, "")])

    found, left_out = service_of(plan)

    assert found.argv[-2:] == ("--port=docker.io=40000", "--port=ghcr.io=54101")
    assert found.environ == {"NO_PROXY": "x", "OBOL_CACHE_TAG_TTL": "5m", "OBOL_CONFIG_DIR": str(tmp_path / "config")}
    assert (found.log, left_out) == (str(plan.log), ("HTTPS_PROXY",))


async def test_enable(tmp_path: Path, world: World) -> None:
    """An engine that runs is stopped for the service, which is waited for until it answers."""
    world.runs, world.silent = True, 4

    enabled = await service(tmp_path, world).enable()

    path = tmp_path / ".config/systemd/user/obol-cache.service"
    assert (enabled.path, enabled.text) == (str(path), path.read_text())
    assert "secret" not in enabled.text
    assert world.acts == ["start", "stop"]
    assert world.runner.lines == [
        "systemctl --user show --property=Version",
        "systemctl --user disable --now obol-cache.service",
        "systemctl --user daemon-reload",
        "systemctl --user enable --now obol-cache.service",
    ]


async def test_enable_and_disable(tmp_path: Path, world: World) -> None:
    """Disabled, it is as before: no file, no directory of ours, and the engine in the background."""
    own = service(tmp_path, world)
    await own.enable()
    await own.enable()
    world.runner.ran.clear()
    world.runs = True

    disabled = await own.disable()

    assert (disabled.removed, disabled.running) == (True, True)
    assert not (tmp_path / ".config").exists()
    assert world.acts[-1] == "start"
    assert world.runner.lines == [
        "systemctl --user disable --now obol-cache.service",
        "systemctl --user daemon-reload",
    ]
    assert not (await own.disable()).removed


async def test_disable_what_does_not_run(tmp_path: Path, world: World) -> None:
    """An engine that was stopped is not started by a disable."""
    own = service(tmp_path, world)
    await own.enable()
    world.runner.ran.clear()
    world.acts.clear()

    assert not (await own.disable()).running
    assert world.acts == []


async def test_launchd(tmp_path: Path, world: World) -> None:
    """On macOS it is an agent of launchd."""
    own = service(tmp_path, world, "launchd")

    enabled = await own.enable()
    await own.disable()

    assert enabled.path == str(tmp_path / "Library/LaunchAgents/dev.obol.cache.plist")
    assert world.runner.lines == [
        "launchctl print gui/1000",
        "launchctl bootout gui/1000/dev.obol.cache",
        f"launchctl bootstrap gui/1000 {enabled.path}",
        "launchctl bootout gui/1000/dev.obol.cache",
    ]


@pytest.mark.parametrize("supervisor", ["systemd", "launchd"])
async def test_no_supervisor(tmp_path: Path, world: World, supervisor: Supervisor) -> None:
    """Where nobody would start the service, that is an error, and nothing is written or started."""
    world.runner.script("systemctl", code=1, stderr="Failed to connect to bus")
    world.runner.missing.add("launchctl")

    with pytest.raises(ObolError, match=f"there is no {supervisor} of this user") as caught:
        await service(tmp_path, world, supervisor).enable()
    assert "obol cache start" in caught.value.hint
    assert world.acts == []
    assert names(tmp_path) == ["store"]


@pytest.mark.parametrize("ran", [True, False])
async def test_supervisor_refuses(tmp_path: Path, world: World, ran: bool) -> None:
    """A service that cannot be started leaves nothing; an engine that ran before runs again."""
    world.runs = ran
    world.runner.script("systemctl", "--user", "daemon-reload", code=1, stderr="Access denied")

    with pytest.raises(ObolError, match=r"daemon-reload` failed: Access denied"):
        await service(tmp_path, world).enable()
    assert world.runs == ran
    assert not (tmp_path / ".config").exists()
    assert names(tmp_path / "state") == []


async def test_service_does_not_answer(tmp_path: Path, world: World) -> None:
    """A service that never answers is taken away again."""
    world.silent = 1_000_000

    with pytest.raises(EngineUnresponsive, match="does not answer 20 seconds after systemd started it"):
        await service(tmp_path, world).enable()
    assert not (tmp_path / ".config").exists()


async def test_somebody_elses_unit(tmp_path: Path, world: World) -> None:
    """A unit of that name that is not ours stays, and stays enabled."""
    path = unit_file(tmp_path, "systemd")
    path.parent.mkdir(parents=True)
    path.write_text("theirs")

    with pytest.raises(ObolError, match="is there already"):
        await service(tmp_path, world).enable()
    assert path.read_text() == "theirs"
    assert world.runner.lines == ["systemctl --user show --property=Version"]


async def test_edited_unit(tmp_path: Path, world: World) -> None:
    """A unit that somebody changed stays as it is, and so does what runs."""
    own = service(tmp_path, world)
    edit((await own.enable()).path)
    world.runner.ran.clear()

    for act in (own.enable, own.disable):
        with pytest.raises(ObolError, match="was changed after we wrote it"):
            await act()
    assert world.runner.lines == ["systemctl --user show --property=Version"]


async def test_under_sudo(tmp_path: Path, world: World) -> None:
    """The service is the person's: root's manager is not theirs."""
    own = service(tmp_path, world)
    own = replace(own, plan=replace(own.plan, account=User(1000, 1000)))

    for act in (own.enable, own.disable):
        with pytest.raises(ObolError, match="not of root"):
            await act()
    assert world.runner.lines == []


@pytest.mark.parametrize("supervisor", ["systemd", "launchd"])
async def test_a_path_that_no_supervisor_can_be_told(supervisor: Supervisor, tmp_path: Path, world: World) -> None:
    """A path that a unit cannot hold is told of, nothing is written, and the engine that ran runs again."""
    world.runs = True
    wanted = service(tmp_path, world, supervisor)
    (tmp_path / os.fsdecode(b"h\xf6me")).mkdir()
    odd = replace(wanted, plan=replace(wanted.plan, store=tmp_path / os.fsdecode(b"h\xf6me")))

    with pytest.raises(ObolError, match=f"{supervisor} cannot take the service") as caught:
        await odd.enable()

    assert "not UTF-8" in caught.value.why
    assert world.runs
    assert not unit_file(tmp_path, supervisor).exists()
