"""The stack on a real podman: from a registry over a slow line, through a real engine, into an isolated image store.

Everything is in network, mount and process namespaces of the test's own: podman makes bridges and firewall rules.
"""

import asyncio
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from obol.backends.podman.backend import PodmanBackend, PodmanEnvironment
from obol.backends.podman.ready import RESTARTS
from obol.backends.ports import ClusterSpec, Deployed, Step
from obol.errors import ObolError
from obol.machine.clock import SystemClock
from obol.machine.commands import Completed, SystemRunner
from obol.machine.podman import Podman
from obol.machine.ports import Holder
from obol.machine.tasks import spawn
from obol.registry.control.api import Listener
from obol.registry.control.client import ControlClient
from obol.rendering.registries import Mirror
from obol.workloads.images import images_in
from obol.workloads.sources import ManifestFile, packaged
from tests.clients.images import BUSYBOX
from tests.clients.sandbox import Sandbox, needs_root, open_sandbox
from tests.clients.servers import Engine, Upstream, get
from tests.e2e.podmanhost import REGISTRIES, filled, podman_environment, slow_line
from tests.limits import eventually

pytestmark = [
    pytest.mark.tool("podman", "conmon", "runc", "docker-registry", "busybox", "iptables"),
    pytest.mark.xdist_group("clients-podman"),
    needs_root,
]

STACK = "brave-otter"


@dataclass(frozen=True, slots=True)
class SandboxRunner:
    """Runs programs within the sandbox."""

    prefix: tuple[str, ...]
    ran: list[str] = field(default_factory=list)

    async def run(self, argv: Sequence[str], **options: Any) -> Completed:
        """Run one, see `Runner`."""
        self.ran.append(" ".join(argv))
        return await SystemRunner().run([*self.prefix, *argv], **options)


@dataclass(frozen=True, slots=True)
class SandboxPorts:
    """The sandbox's ports, of which some are somebody else's."""

    taken: set[int] = field(default_factory=set)

    def is_free(self, address: str, port: int) -> bool:
        return port not in self.taken

    def pick_free(self, addresses: tuple[str, ...]) -> int:
        return 41234

    def holder(self, port: int) -> Holder | None:
        return None


@dataclass
class World:
    """Registries, a slow line, an engine, and a podman with an empty store."""

    workdir: Path
    sandbox: Sandbox
    upstream: Upstream
    engine: Engine
    environ: Mapping[str, str]
    ports: SandboxPorts = field(default_factory=SandboxPorts)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runner = SandboxRunner(self.sandbox.everything)
        looks = PodmanEnvironment(SystemClock(), self.ports, self._probe, self._listen)
        self.backend = PodmanBackend(Podman(self.runner, self.environ), self.config, looks)

    @property
    def config(self) -> Path:
        return self.workdir / "config"

    @property
    def spec(self) -> ClusterSpec:
        """The stack, whose mirrors are the engine's ports on loopback."""
        mirrors = tuple(Mirror(name, f"http://127.0.0.1:{self.engine.port_of(name)}") for name in REGISTRIES)
        return ClusterSpec(STACK, self.config, self.workdir / "data", mirrors)

    async def up(self, manifests: Sequence[ManifestFile] = ()) -> Deployed:
        await self.backend.check()
        step = Step(self.lines.append)
        await self.backend.up(self.spec, step)
        self.notes = step.notes
        return await self.backend.apply(self.spec, manifests or packaged(), step)

    async def podman(self, *arguments: str) -> str:
        done = await self.runner.run(["podman", *arguments], env=self.environ)
        assert done.code == 0, done.stderr
        return done.stdout

    async def json(self, *arguments: str) -> Any:
        """What podman says, as JSON."""
        return json.loads(await self.podman(*arguments, "--format", "json"))

    async def interrupted(self, command: str) -> None:
        """Bring it up until a podman with this command is at work."""
        self.runner.ran.clear()
        up = spawn(self.up(), name="interrupted")
        await eventually(lambda: any(line.startswith(command) for line in self.runner.ran), seconds=20)
        await asyncio.sleep(0.1)
        up.cancel()
        await asyncio.gather(up, return_exceptions=True)

    async def _probe(self, port: int, path: str) -> int | None:
        try:
            return await asyncio.to_thread(get, port, path, self.sandbox)
        except pytest.fail.Exception:
            return None

    async def _listen(self, address: str) -> str | None:
        listener = Listener("docker.io", address, self.engine.port)
        opened = await asyncio.to_thread(ControlClient(self.workdir / "store").listen, listener)
        return f"{opened.address}:{opened.port}"


@pytest.fixture
def world() -> Iterator[World]:
    """All of it; what it was is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name, open_sandbox(own_network=True) as sandbox:
        workdir = Path(name)
        environ = podman_environment(workdir)
        storage = filled(workdir)
        upstream = Upstream(storage, workdir, sandbox)
        with slow_line(upstream, workdir, sandbox) as url:
            engine = Engine(dict.fromkeys(REGISTRIES, url), workdir, sandbox)
            engine.start()
            try:
                yield World(workdir, sandbox, upstream, engine, environ)
            finally:
                engine.kill()
                upstream.unplug()
                sys.stdout.write(engine.log())


CRASHING = """\
apiVersion: v1
kind: Pod
metadata: {name: crashing}
spec:
  restartPolicy: Always
  containers:
  - {name: ends, image: localhost/busybox:1, command: [/busybox, "false"]}
"""


async def test_lives(tmp_path: Path) -> None:
    """Podman tells how often it has started a container again that ends, and when it did so last."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name, open_sandbox(own_network=True) as sandbox:
        environ = podman_environment(Path(name))
        runner = SandboxRunner(sandbox.everything)
        with tarfile.open(tmp_path / "image.tar", "w") as image:
            image.add(BUSYBOX.resolve(), "busybox")
        (tmp_path / "pod.yaml").write_text(CRASHING)
        began = datetime.now(UTC)
        for words in (
            ("import", f"{tmp_path}/image.tar", "localhost/busybox:1"),
            ("kube", "play", f"{tmp_path}/pod.yaml"),
        ):
            done = await runner.run(["podman", *words], env=environ)
            assert done.code == 0, done.stderr
        podman = Podman(runner, environ)

        async def again() -> bool:
            return [life.restarts >= RESTARTS for life in await podman.lives(["crashing-ends"])] == [True]

        await eventually(again, seconds=20)
        (life,) = await podman.lives(["crashing-ends"])
        assert began - timedelta(seconds=1) < life.started <= datetime.now(UTC)
        assert await podman.lives(["another"]) == []


async def test_down_and_up(world: World) -> None:
    """Down keeps images, volumes and the key; up starts the same pods again, and up once more changes nothing."""
    deployed = await world.up()
    assert deployed.url == "http://127.0.0.1:4000"
    assert "Prometheus answers on http://127.0.0.1:9090." in world.notes
    key = (world.config / "litellm-master-key").read_text()
    before = {pod["Id"] for pod in await world.json("pod", "ps")}

    await world.backend.down(STACK)
    assert await world.backend.state(STACK) == "stopped"
    world.upstream.unplug()
    await world.up()

    assert {pod["Id"] for pod in await world.json("pod", "ps")} == before
    assert (world.config / "litellm-master-key").read_text() == key
    world.runner.ran.clear()
    await world.up()
    assert not [line for line in world.runner.ran if " play " in line or "pull" in line or "secret" in line]


async def test_pods_see_each_other_and_the_caches(world: World) -> None:
    """Prometheus reaches the gateway by its pod's name, and a cache's figures on the network's own address."""
    await world.up()
    name = f"obol-stack-{STACK}-prometheus-pod-prometheus"
    settings = await world.podman("exec", name, "/bin/busybox", "cat", "/etc/prometheus/prometheus.yml")
    targets = json.loads(await world.podman("exec", name, "/bin/busybox", "cat", "/etc/prometheus/caches.json"))

    looked_up = await world.podman("exec", name, "/bin/busybox", "nslookup", f"obol-stack-{STACK}-litellm-pod")
    metrics = await world.podman(
        "exec", name, "/bin/busybox", "wget", "-q", "-O", "-", f"http://{targets[0]['targets'][0]}/metrics"
    )

    assert f'targets: ["obol-stack-{STACK}-litellm-pod:4000"]' in settings
    assert "Name:" in looked_up
    assert "# TYPE obol" in metrics


async def test_only_what_changed_is_replaced(world: World) -> None:
    """Another manifest, or a port that somebody has taken, replaces one pod and leaves the other alone."""
    world.ports.taken.add(4000)
    deployed = await world.up()
    assert deployed.url == "http://127.0.0.1:41234"
    before = {pod["Name"]: pod["Id"] for pod in await world.json("pod", "ps")}
    changed = [
        ManifestFile(one.name, one.text.replace("drop_params: true", "drop_params: false")) for one in packaged()
    ]

    await world.up(changed)

    after = {pod["Name"]: pod["Id"] for pod in await world.json("pod", "ps")}
    assert {name for name in before if before[name] != after[name]} == {f"obol-stack-{STACK}-litellm-pod"}
    file = await world.podman(
        "exec", f"obol-stack-{STACK}-litellm-pod-litellm", "/bin/busybox", "cat", "/app/config.yaml"
    )
    assert "drop_params: false" in file


async def test_interrupted_up_is_completed_by_the_next(world: World) -> None:
    """Up that is stopped while images are fetched, or while a pod gets its network, is completed by the next."""
    await world.interrupted("podman pull")
    assert await world.json("pod", "ps") == []
    for _ in range(2):
        await world.interrupted("podman kube play")
        (pod,) = await world.json("pod", "ps")
        assert pod["Status"] == "Running"

    await world.up()

    assert await world.backend.state(STACK) == "running"
    assert [pod["Status"] for pod in await world.json("pod", "ps")] == ["Running", "Running"]


async def test_purge_leaves_what_is_not_ours(world: World) -> None:
    """Purge removes pods, secrets, volumes and the network of this stack; an image that others use stays."""
    await world.up()
    image = next(image for manifest in packaged() for image in images_in(manifest) if image.container == "litellm")
    await world.podman("pod", "create", "--name", "mine", "--network", "none")
    await world.podman("create", "--pod", "mine", "--name", "mine-too", str(image.reference))
    await world.podman("volume", "create", f"obol-stack-{STACK}-too")

    await world.backend.purge(STACK, images=True)
    await world.backend.purge(STACK, images=True)

    assert await world.backend.state(STACK) == "absent"
    assert [pod["Name"] for pod in await world.json("pod", "ps")] == ["mine"]
    assert (await world.podman("volume", "ls", "--quiet")).split() == [f"obol-stack-{STACK}-too"]
    assert await world.podman("secret", "ls", "--quiet") == ""
    assert [network["name"] for network in await world.json("network", "ls")] == ["podman"]
    names = [name for one in await world.json("images") for name in one.get("Names") or ()]
    assert [name for name in names if "podman-pause" not in name] == [str(image.reference)]
    assert not (world.config / "podman").exists()


async def test_a_gateway_that_does_not_stay_up(world: World) -> None:
    """A container that ends again and again is told of with its last words, and left for a look."""
    broken = [
        ManifestFile(one.name, one.text.replace("mountPath: /app/config.yaml", "mountPath: /app/x"))
        for one in packaged()
    ]

    with pytest.raises(ObolError, match="litellm is not ready") as caught:
        await world.up(broken)

    assert "again and again" in caught.value.why
    assert "something is missing" in caught.value.why
    assert (world.config / "litellm-master-key").read_text().strip() not in caught.value.why
    assert len(await world.json("pod", "ps")) == 2
