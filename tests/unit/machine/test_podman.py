import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from obol.errors import DependencyMissing, ObolError
from obol.machine.commands import Completed
from obol.machine.podman import Installation, Pod, PodContainer, Podman, PodmanContainer, PublishedPort
from obol.machine.scratch import Scratch
from obol.machine.tasks import spawn
from tests.fakes.runner import FakeRunner

LABEL = "obol.cluster-id=brave-otter"

# Shortened answers of podman 4.3.1.
PODS = """[{"Cgroup": "/libpod_parent", "Containers": [
  {"Id": "1a", "Names": "app-pod-app", "Status": "running"}, {"Id": "27", "Names": "fe-infra", "Status": "running"}],
  "Id": "fe", "InfraId": "27", "Name": "app-pod", "Namespace": "", "Networks": ["podman-default-kube-network"],
  "Status": "Running", "Labels": {"obol.cluster-id": "brave-otter"}}]"""
CONTAINERS = """[{"AutoRemove": false, "Command": null, "Id": "1a", "Image": "localhost/app:1", "IsInfra": false,
  "Labels": null, "Names": ["app-pod-app"], "Pod": "fe", "PodName": "", "State": "running", "Ports": [
  {"host_ip": "127.0.0.1", "container_port": 4000, "host_port": 4001, "range": 1, "protocol": "tcp"}]}]"""


@pytest.fixture
def runner() -> FakeRunner:
    """A podman that says nothing."""
    return FakeRunner()


@pytest.fixture
def podman(runner: FakeRunner) -> Podman:
    """The functions over it."""
    return Podman(runner, {"HOME": "/home/me"})


async def test_installation(podman: Podman, runner: FakeRunner) -> None:
    """What podman is, is read from its JSON; a suffix of the version does not matter."""
    host = {"security": {"rootless": True}, "serviceIsRemote": True, "distribution": {}}
    runner.script("podman", "info", stdout=json.dumps({"host": host, "version": {"Version": "4.9.4-rhel"}}))
    runner.script("podman", "info", stdout=json.dumps({"host": {}, "version": {"Version": "dev"}}))

    assert await podman.installation() == Installation((4, 9, 4), rootless=True, remote=True)
    assert await podman.installation() == Installation((), rootless=False, remote=False)


async def test_missing(podman: Podman, runner: FakeRunner) -> None:
    """A podman that is not installed is told of with where to get it."""
    runner.missing.add("podman")

    with pytest.raises(DependencyMissing, match="podman is not installed"):
        await podman.installation()


async def test_answers_that_are_no_json(podman: Podman, runner: FakeRunner) -> None:
    """What cannot be understood is not shown: it may have secrets in it."""
    runner.script("podman", "container", "inspect", stdout='[{"Config": {"Env": ["KEY=hidden"]}')

    with pytest.raises(ObolError, match="do not understand") as caught:
        await podman.lives(["a"])

    assert "hidden" not in str(caught.value)


async def test_pods(podman: Podman, runner: FakeRunner) -> None:
    """Pods are told with their labels and members, of which the one that holds them together is none."""
    runner.script("podman", "pod", "ps", stdout=PODS)

    (pod,) = await podman.pods(LABEL)

    members = [PodContainer("app-pod-app", "running"), PodContainer("fe-infra", "running")]
    assert pod == Pod("fe", "app-pod", "Running", {"obol.cluster-id": "brave-otter"}, members, "27")
    assert (pod.members, pod.label("obol.cluster-id"), pod.label("x")) == (1, "brave-otter", "")
    assert Pod("a", "b", "Created").members == 0
    assert runner.lines == [f"podman pod ps --filter label={LABEL} --format json"]


async def test_containers(podman: Podman, runner: FakeRunner) -> None:
    """Containers are told with their ports."""
    runner.script("podman", "ps", stdout=CONTAINERS)

    assert await podman.containers(LABEL) == [
        PodmanContainer(["app-pod-app"], "localhost/app:1", "running", "fe", [PublishedPort(4000, 4001)])
    ]
    assert runner.lines == [f"podman ps --all --filter label={LABEL} --format json"]


async def test_lives(podman: Podman, runner: FakeRunner) -> None:
    """Each container tells how often it was started again; those that are not there tell nothing."""
    runner.script("podman", "container", "inspect", stdout='[{"RestartCount": 2}, {"RestartCount": 3}]')
    runner.script("podman", "container", "inspect", code=125, stderr="Error: no such container")

    assert [life.restarts for life in await podman.lives(["a", "b"])] == [2, 3]
    assert await podman.lives(["a", "b"]) == []


async def test_logs(podman: Podman, runner: FakeRunner) -> None:
    """The last lines are told, of both streams, without colours."""
    runner.script("podman", "logs", stdout="one\ntwo\n", stderr="\x1b[31mthree\x1b[0m\n")

    assert await podman.logs("app", 2) == ["two", "three"]


async def test_pull(podman: Podman, runner: FakeRunner) -> None:
    """A registries.conf is given by the environment; what fails is told in podman's last words."""
    runner.script("podman", "pull", stdout="d6b3\n")
    runner.script(
        "podman", "pull", code=125, stderr='time="x" level=warning msg="retrying"\n\x1b[1mno more words\x1b[0m'
    )
    runner.script("podman", "pull", code=7)

    await podman.pull("quay.io/a/b:1", Path("/conf"))
    with pytest.raises(ObolError, match=r"quay.io/a/b:1 cannot be pulled: no more words"):
        await podman.pull("quay.io/a/b:1", None)
    with pytest.raises(ObolError, match="exit code 7"):
        await podman.pull("quay.io/a/b:1", None)

    assert [ran.env for ran in runner.ran] == [
        {"HOME": "/home/me", "CONTAINERS_REGISTRIES_CONF": "/conf"},
        {"HOME": "/home/me"},
        {"HOME": "/home/me"},
    ]


async def test_where_podman_unpacks(runner: FakeRunner, tmp_path: Path) -> None:
    """Each pull has a directory of its own for layers, which is gone when it has ended, however it ended."""
    runner.script("podman", "pull", stdout="d6b3\n")
    runner.script("podman", "pull", code=7)
    podman = Podman(runner, {"TMPDIR": "/absent"}, scratch=Scratch(tmp_path))

    await podman.pull("quay.io/a/b:1", None)
    with pytest.raises(ObolError, match="exit code 7"):
        await podman.pull("quay.io/a/b:1", None)

    first, second = [(ran.env or {})["TMPDIR"] for ran in runner.ran]
    assert {Path(first).parent, Path(second).parent} == {tmp_path}
    assert first != second
    assert sorted(tmp_path.glob("*")) == []  # noqa: ASYNC240 - a directory in memory


def test_what_a_killed_pull_left(runner: FakeRunner, tmp_path: Path) -> None:
    """It is removed when told, where there can be something."""
    (tmp_path / "obol-pull-killed").mkdir()

    Podman(runner, {}).sweep()
    Podman(runner, {}, scratch=Scratch(tmp_path)).sweep()

    assert list(tmp_path.iterdir()) == []


async def test_play(podman: Podman, runner: FakeRunner) -> None:
    """Why a pod does not start stands before the last line, which only counts."""
    runner.script(
        *("podman", "kube", "play"),
        code=125,
        stderr="one\nstarting container 9b: no such file\na dependency failed\nError: failed to start 2 containers\n",
    )

    with pytest.raises(ObolError) as caught:
        await podman.play(Path("/rendered/app.yaml"), "net")

    assert str(caught.value) == (
        "podman cannot start app: starting container 9b: no such file; a dependency failed; "
        "failed to start 2 containers"
    )
    assert runner.lines == ["podman kube play --network net /rendered/app.yaml"]


async def test_secret(podman: Podman, runner: FakeRunner) -> None:
    """A secret replaces the one of its name and goes through standard input."""
    await podman.create_secret("name", "payload")

    assert [(ran.argv[1:], ran.stdin) for ran in runner.ran] == [
        (("secret", "rm", "name"), ""),
        (("secret", "create", "name", "-"), "payload"),
    ]


async def test_names(podman: Podman, runner: FakeRunner) -> None:
    """Names are told that begin as asked."""
    runner.script("podman", "volume", "ls", stdout="obol.a\nother\n")
    runner.script("podman", "secret", "ls", stdout="obol.b\n")

    assert await podman.volumes("obol.") == ["obol.a"]
    assert await podman.secrets("obol.") == ["obol.b"]


async def test_nothing_to_do(podman: Podman, runner: FakeRunner) -> None:
    """For nothing podman is not run."""
    await podman.stop([])
    await podman.remove([])
    await podman.remove_secrets([])
    await podman.remove_volumes([])

    assert runner.ran == []


async def test_network(podman: Podman, runner: FakeRunner) -> None:
    """A network is made if it is not there; one without an address of this machine is fine."""
    runner.script("podman", "network", "inspect", code=125, stderr="Error: network not found")
    runner.script("podman", "network", "inspect", stdout='[{"name": "n", "subnets": null}]')
    runner.script("podman", "network", "inspect", stdout='[{"subnets": [{"gateway": "10.89.1.1"}]}]')

    assert await podman.network("n", LABEL) == ""
    assert await podman.network("n", LABEL) == "10.89.1.1"
    assert runner.lines[1] == f"podman network create --label {LABEL} n"


async def test_remove_networks(podman: Podman, runner: FakeRunner) -> None:
    """Networks with the label are removed, if there are any."""
    runner.script("podman", "network", "ls", stdout="a\n")
    runner.script("podman", "network", "ls", stdout="")

    await podman.remove_networks(LABEL)
    await podman.remove_networks(LABEL)

    assert [line for line in runner.lines if " rm " in line] == ["podman network rm a"]


async def test_what_may_be_shown() -> None:
    """What takes long goes to the loud runner, with its progress; what asks, and secrets, never do."""
    quiet, loud = FakeRunner(), FakeRunner()
    podman = Podman(quiet, {}, loud)
    quiet.script("podman", "ps", stdout="[]")

    await podman.pull("alpine", None)
    await podman.play(Path("/rendered/app.yaml"), "net")
    await podman.containers("a=b")
    await podman.create_secret("key", "sesame")

    assert loud.lines == ["podman pull alpine", "podman kube play --network net /rendered/app.yaml"]
    assert [line.split()[1] for line in quiet.lines] == ["ps", "secret", "secret"]


async def test_progress_is_no_error() -> None:
    """The lines that tell how a pull goes on are not part of why it failed."""
    runner = FakeRunner()
    said = "Trying to pull docker.io/library/alpine:latest...\nGetting image source signatures\nError: no such host\n"
    runner.script("podman", "pull", code=125, stderr=said)

    with pytest.raises(ObolError) as caught:
        await Podman(runner, {}, runner).pull("alpine", None)

    assert caught.value.why == "no such host"


POD = Pod("fe", "app-pod", "Running")


class SlowRunner(FakeRunner):
    """A podman that is at work until it is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.gate, self.done = asyncio.Event(), asyncio.Event(), False

    async def run(self, argv: Any, **options: Any) -> Completed:
        self.began.set()
        await self.gate.wait()
        self.done = True
        return await super().run(argv, **options)


CHANGES: dict[str, Callable[[Podman], Awaitable[Any]]] = {
    "play": lambda podman: podman.play(Path("app.yaml"), "net"),
    "start": lambda podman: podman.start(POD),
    "stop": lambda podman: podman.stop([POD]),
    "remove": lambda podman: podman.remove([POD]),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_changes_of_pods_are_not_cut_off(change: str) -> None:
    """Podman ends what it does to a pod, and to its network, although nobody wants it any more."""
    runner = SlowRunner()

    async def work() -> None:
        await CHANGES[change](Podman(runner, {}))

    caller = spawn(work(), name="caller")
    await runner.began.wait()
    caller.cancel()
    await asyncio.sleep(0)
    runner.gate.set()
    await asyncio.wait([caller])

    assert (caller.cancelled(), runner.done) == (True, True)


async def test_who_waits_is_told() -> None:
    """After a Ctrl-C it is said what is waited for, and what another one would do; without one nothing is."""
    runner, notes = SlowRunner(), list[str]()
    podman = Podman(runner, {}, note=notes.append)
    caller = spawn(podman.stop([POD]), name="caller")
    await runner.began.wait()
    assert notes == []

    caller.cancel()
    await asyncio.sleep(0)
    runner.gate.set()
    await asyncio.wait([caller])

    (note,) = notes
    assert "Waiting for podman" in note


async def test_pulls_are_cut_off() -> None:
    """An image that nobody wants any more is not waited for."""
    runner = SlowRunner()
    caller = spawn(Podman(runner, {}).pull("localhost/app:1", None), name="caller")
    await runner.began.wait()

    caller.cancel()
    await asyncio.wait([caller])

    assert (caller.cancelled(), runner.done) == (True, False)
