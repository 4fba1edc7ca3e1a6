import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obol.caches.builtin.process import Running
from obol.caches.containers.container import ServingContainer
from obol.caches.containers.engine import ContainerSeen, ContainersStarted, LeftOut
from obol.caches.containers.plan import ContainersPlan, RegistryContainer, push_registry
from obol.caches.reachable import Substitute
from obol.cli.cache import engines
from obol.cli.terminal.present import Speaker
from obol.errors import ObolError
from obol.machine.docker.errors import DockerNotRunning
from obol.registry.control.api import Amount
from tests.unit.cli.conftest import Terminal, engine_status

HUB = RegistryContainer("docker.io", "https://registry-1.docker.io", 54100)
GHCR = RegistryContainer("ghcr.io", "https://ghcr.io", 54101)
RUNS = (ContainerSeen(HUB, "running", 54100, content=Amount(2, 1024)), ContainerSeen(GHCR, "running", 40001))
STOPPED = (ContainerSeen(HUB, "stopped", 54100), ContainerSeen(GHCR, "stopped", 54101))
PUSH = (ContainerSeen(push_registry(), "running", 54103),)


@dataclass
class Docker:
    """The cache containers of a machine, which do as told."""

    there: Sequence[ContainerSeen] = RUNS
    problem: ObolError | None = None
    traced: bool = True
    silent: bool = False
    done: ContainersStarted = field(
        default_factory=lambda: ContainersStarted(
            (ServingContainer(HUB, 54100, "started"), ServingContainer(GHCR, 54101, "found"))
        )
    )
    plans: list[ContainersPlan] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    async def look(self) -> tuple[ContainerSeen, ...]:
        self.calls.append("look")
        if self.silent:
            await asyncio.Event().wait()
        if self.problem:
            raise self.problem
        return tuple(self.there)

    async def stop(self) -> tuple[str, ...]:
        if self.problem:
            raise self.problem
        return tuple(one.cache.name for one in self.there if one.cache.upstream and one.state == "running")

    async def discard(self) -> tuple[str, ...]:
        self.calls.append("discard")
        return tuple(one.cache.name for one in self.there if one.cache.upstream)

    async def logs(self, lines: int) -> tuple[str, ...]:
        return (f"docker.io: the last {lines}",)


@pytest.fixture
def docker(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """A machine on which containers serve."""
    found = Docker()

    def bring_up(_say: Speaker, plan: ContainersPlan) -> ContainersStarted:
        found.plans.append(plan)
        return found.done

    def containers_of(_root: Path) -> Docker:
        return found

    monkeypatch.setattr(engines, "containers_of", containers_of)
    monkeypatch.setattr(engines, "has_traces", lambda _root: found.traced)
    monkeypatch.setattr(engines, "bring_up", bring_up)
    monkeypatch.delenv("OBOL_CACHE_ENGINE", raising=False)
    return found


def test_status(terminal: Terminal, docker: Docker) -> None:
    """The containers are shown with their ports, their state and what they hold; nobody is told to start an engine."""
    assert terminal.run("cache status") == 0

    assert "Engine   containers, 2 of 2 running" in terminal.out
    assert "Content  2 blobs, 1.0 KiB, and what is not ours to count" in terminal.out
    assert "k3d-obol-docker-io.localhost" in terminal.out
    assert "127.0.0.1:54100" in terminal.out
    assert "not on 54101" in terminal.out
    assert "cache start" not in terminal.err
    assert terminal.run("cache status -o json") == 0
    told = json.loads(terminal.out)
    assert (told["running"], told["cache_engine"], told["engine"]) == (True, "containers", None)
    assert told["containers"][0] == {
        "name": "k3d-obol-docker-io.localhost",
        "registry": "docker.io",
        "state": "running",
        "port": 54100,
        "content": {"count": 2, "size": 1024},
    }


def test_status_of_stopped_ones(terminal: Terminal, docker: Docker) -> None:
    """Containers that are stopped are not running, and are started by the verb that is named."""
    docker.there = STOPPED

    assert terminal.run("cache status") == 0

    assert "containers, 0 of 2 running" in terminal.out
    assert "Start them: obol cache start" in terminal.err
    assert terminal.run("cache status -o json") == 0
    assert json.loads(terminal.out)["cache_engine"] is None


def test_status_beside_the_builtin_engine(terminal: Terminal, docker: Docker) -> None:
    """Containers beside a builtin engine that runs are shown, and what to do about two engines is said."""
    terminal.engine.running = Running(engine_status())

    assert terminal.run("cache status") == 0

    assert "Process  4711" in terminal.out
    assert "k3d-obol-ghcr-io.localhost" in terminal.out
    assert "`obol stack up --cache-engine builtin`" in terminal.err

    docker.there = PUSH
    assert terminal.run("cache status") == 0
    assert "k3d-obol-local.localhost" in terminal.out
    assert terminal.err == ""


@pytest.mark.parametrize("line", ["cache status", "cache status --store /elsewhere"])
def test_no_docker(terminal: Terminal, docker: Docker, line: str) -> None:
    """Docker is not asked without need; where it is asked and does not answer, that is said and is no failure."""
    docker.problem = DockerNotRunning("Docker is not running")
    docker.traced = "store" in line

    assert terminal.run(line) == 0
    assert docker.calls == []

    docker.traced = True
    assert terminal.run("cache status") == 0
    assert "Whether there are cache containers is not known: Docker is not running." in terminal.err


@pytest.mark.parametrize(
    ("there", "code"), [(RUNS, 0), (STOPPED, 4), (PUSH, 4), ((*RUNS, STOPPED[0]), 1), ((*PUSH, *RUNS), 0)]
)
def test_the_exit_code(terminal: Terminal, docker: Docker, there: Sequence[ContainerSeen], code: int) -> None:
    """Caches that all serve are 0, where none runs it is 4, and all between is 1."""
    docker.there = there

    assert terminal.run("cache status --exit-code") == code


def test_a_docker_that_never_answers(terminal: Terminal, docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who only asks does not wait for ever, and is told what is not known."""
    monkeypatch.setattr(engines, "_PATIENCE", 0.0)
    docker.silent = True

    assert terminal.run("cache status") == 0

    assert "Docker did not answer within 0 seconds" in terminal.err


def test_stop(terminal: Terminal, docker: Docker) -> None:
    """Stop stops the containers and names them; Docker's troubles are an error then."""
    assert terminal.run("cache stop") == 0

    assert terminal.out.replace("\n", " ") == f"Stopped {HUB.name}, {GHCR.name}. "
    assert "`obol cache start` starts them again" in terminal.err
    assert terminal.run("cache stop -o json") == 0
    assert json.loads(terminal.out) == {"stopped": True, "containers": [HUB.name, GHCR.name]}

    docker.there = STOPPED
    assert terminal.run("cache stop") == 0
    assert terminal.out == "The cache engine was not running.\n"
    docker.problem = DockerNotRunning("Docker is not running")
    assert terminal.run("cache stop") == 3


def test_start(terminal: Terminal, docker: Docker) -> None:
    """Start starts the containers that are there, not a second engine on other ports."""
    docker.there = STOPPED
    docker.done = ContainersStarted(
        docker.done.serving,
        (LeftOut(RegistryContainer("quay.io", "https://quay.io", 54102), ObolError("it crashes")),),
        (Substitute("ghcr.io", 54101, 40001, "nginx (pid 7)"),),
        ("one is old",),
    )

    assert terminal.run("cache start") == 0

    assert terminal.out == (f"{HUB.name} has started (127.0.0.1:54100).\n{GHCR.name} has started (127.0.0.1:54101).\n")
    assert terminal.engine.plans == [] or terminal.engine.started is None
    assert [cache.registry for cache in docker.plans[0].caches] == ["docker.io", "ghcr.io", "quay.io"]
    assert terminal.err.splitlines() == [
        "warning: quay.io is pulled directly: it crashes",
        "warning: Port 54101 is taken by nginx (pid 7): the cache of ghcr.io is on 40001.",
        "warning: one is old",
    ]
    assert terminal.run("cache start -o json") == 0
    told = json.loads(terminal.out)
    assert (told["cache_engine"], told["engine"], told["already"]) == ("containers", None, False)
    assert [one["port"] for one in told["containers"]] == [54100, 54101]


def test_start_what_runs(terminal: Terminal, docker: Docker) -> None:
    """Containers that run already are left alone, which is said."""
    docker.done = ContainersStarted((ServingContainer(HUB, 54100, "found"),))

    assert terminal.run("cache start") == 0

    assert "runs already" in terminal.out


def test_start_fails(terminal: Terminal, docker: Docker) -> None:
    """Where no container answers, the first reason is told."""
    docker.done = ContainersStarted((), (LeftOut(HUB, ObolError("it crashes", hint="docker logs it")),))

    assert terminal.run("cache start") != 0

    assert "error: no cache container answers\n  why: it crashes\n" in terminal.err


def test_start_with_options(terminal: Terminal, docker: Docker) -> None:
    """Options of the builtin engine start no second one: the switch that helps is named."""
    assert terminal.run("cache start --tag-ttl 5m") == 1

    assert "these options are for the builtin engine" in terminal.err
    assert "`obol stack up --cache-engine builtin`" in terminal.err.replace("\n", " ")
    assert docker.plans == []


@pytest.mark.parametrize(("wish", "by_containers"), [("containers", True), ("builtin", False), ("auto", True)])
def test_start_as_wished(
    terminal: Terminal, docker: Docker, monkeypatch: pytest.MonkeyPatch, wish: str, by_containers: bool
) -> None:
    """The environment may ask for an engine by name."""
    monkeypatch.setenv("OBOL_CACHE_ENGINE", wish)

    assert terminal.run("cache start") == 0

    assert bool(docker.plans) == by_containers
    assert ("discard" in docker.calls) == (wish == "builtin")
    assert ("What they hold stays" in terminal.err) == (wish == "builtin")


def test_start_beside_the_builtin_engine(terminal: Terminal, docker: Docker) -> None:
    """Where the builtin engine runs, it is what was meant."""
    terminal.engine.running = Running(engine_status())

    assert terminal.run("cache start") == 0

    assert docker.plans == []


def test_logs(terminal: Terminal, docker: Docker) -> None:
    """The logs of containers are shown together; what only Docker can do is said."""
    assert terminal.run("cache logs -n 3") == 0
    assert terminal.out == "docker.io: the last 3\n"
    assert terminal.run("cache logs -n 3 -o json") == 0
    assert json.loads(terminal.out) == {"path": "", "lines": ["docker.io: the last 3"]}

    for option in ("--follow", "--path"):
        assert terminal.run(f"cache logs {option}") == 1
        assert f"`docker logs -f {HUB.name}`" in terminal.err


@pytest.mark.parametrize("line", ["cache ls", "cache warm alpine", "cache enable"])
def test_what_containers_cannot_do(terminal: Terminal, docker: Docker, line: str) -> None:
    """A verb that containers have no answer to fails with the switch that helps, and starts nothing."""
    assert terminal.run(line) == 1

    assert "the caches are containers" in terminal.err
    assert "`obol stack up --cache-engine builtin`" in terminal.err.replace("\n", " ")
    assert docker.plans == []


def test_a_registry_to_push_to_is_no_cache(terminal: Terminal, docker: Docker) -> None:
    """Development mode's registry alone makes no containers engine."""
    docker.there = PUSH

    assert terminal.run("cache start") == 0
    assert docker.plans == []
    assert terminal.run("cache ls") == 0
    assert terminal.run("cache status") == 0
    assert "no caches, a registry to push to" in terminal.out


def test_disable(terminal: Terminal, docker: Docker) -> None:
    """That containers are not started at login is for Docker to be told, and that is said."""
    assert terminal.run("cache disable") == 0

    assert f"docker update --restart=no {HUB.name} {GHCR.name}" in terminal.err.replace("\n", " ")


def test_config(terminal: Terminal, docker: Docker) -> None:
    """Clients are pointed at the ports that the containers really have."""
    assert terminal.run("cache config skopeo") == 0

    assert "127.0.0.1:54100" in terminal.out
    assert "127.0.0.1:40001" in terminal.out
    assert "127.0.0.1:54101" not in terminal.out
    assert "127.0.0.1:54102" in terminal.out
