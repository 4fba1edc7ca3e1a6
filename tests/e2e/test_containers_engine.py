"""Cache containers, obol-net, the gateway and reclaiming against a real dockerd."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from obol.backends.k3d.node import NodeDocker
from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import BuiltinEngine
from obol.caches.containers.engine import CacheContainers, ContainersEngine, ContainersStarted
from obol.caches.containers.plan import ContainersPlan, RegistryContainer, push_registry
from obol.caches.docker.gateway import GatewayMirrors, Reached, Unreached
from obol.caches.docker.network import ensure_network, remove_network
from obol.errors import EngineUnresponsive
from obol.machine.commands import SystemRunner
from obol.machine.docker.cli import Docker
from obol.machine.docker.errors import DockerFailed, NoAddressPool
from obol.machine.docker.values import Network
from obol.rendering.registries import Mirror
from obol.stack.reclaim import LeakedNetworks, Reclaimed
from tests.clients.sandbox import needs_root
from tests.clients.servers import Engine
from tests.e2e.dockerhost import BUSYBOX_IMAGE, REGISTRY_IMAGE, DockerHost, open_docker_host

pytestmark = [
    pytest.mark.tool("dockerd", "docker", "containerd", "runc", "ip", "iptables", "docker-registry", "busybox", "ldd"),
    pytest.mark.xdist_group("e2e-dockerd"),
    needs_root,
]

THREE = ["k3d-obol-docker-io.localhost", "k3d-obol-ghcr-io.localhost", "k3d-obol-quay-io.localhost"]
HUB = THREE[0]
APP = "127.0.0.1:54100/library/app:1"


@pytest.fixture(scope="module")
def machine() -> Iterator[DockerHost]:
    """A dockerd for all tests of this module, and an image at its origin."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name, open_docker_host(Path(name)) as host:
        host.publish_app()
        yield host


@pytest.fixture
def host(machine: DockerHost) -> Iterator[DockerHost]:
    """The same, with nothing but its images."""
    yield machine
    if containers := machine.docker("ps", "--all", "--quiet").split():
        machine.docker("rm", "--force", *containers)
    machine.docker("network", "prune", "--force")


@pytest.fixture
def root() -> Iterator[Path]:
    """A cache root."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name:
        yield Path(name)


def hub(host: DockerHost, root: Path) -> ContainersPlan:
    """Only the cache of Docker Hub."""
    return ContainersPlan(root, (RegistryContainer("docker.io", host.origin.url, 54100),))


def all_three(host: DockerHost, root: Path) -> ContainersPlan:
    """The default caches; the origin plays all registries."""
    ports = {"docker.io": 54100, "ghcr.io": 54101, "quay.io": 54102}
    return ContainersPlan(root, tuple(RegistryContainer(name, host.origin.url, port) for name, port in ports.items()))


def start(host: DockerHost, plan: ContainersPlan) -> ContainersStarted:
    """What `up` does."""

    async def work(docker: Docker) -> ContainersStarted:
        return await ContainersEngine(docker, plan).start(await ensure_network(docker))

    return host.within(work)


def pull_anew(host: DockerHost, reference: str = APP) -> None:
    """Pull an image into a store that does not have it, and forget it."""
    host.docker("pull", "--quiet", reference)
    host.docker("rmi", reference)


def container(host: DockerHost, name: str, *options: str) -> str:
    """Run a container that stays; gives its ID."""
    return host.docker("run", "--detach", "--name", name, *options, BUSYBOX_IMAGE, "sleep 1000")


def test_smoke(host: DockerHost, root: Path) -> None:
    """Three caches show in `docker ps`, on loopback only; a second pull comes from them, with the origin gone too."""
    started = start(host, all_three(host, root))

    assert host.names("--filter", "name=k3d-obol") == THREE
    assert host.names("--filter", "label=app=k3d", "--filter", "label=k3d.role=registry") == THREE
    assert started.mirrors == (
        Mirror("docker.io", "http://k3d-obol-docker-io.localhost:5000"),
        Mirror("ghcr.io", "http://k3d-obol-ghcr-io.localhost:5000"),
        Mirror("quay.io", "http://k3d-obol-quay-io.localhost:5000"),
    )
    assert host.docker("port", HUB) == "5000/tcp -> 127.0.0.1:54100"
    inspected = "{{.HostConfig.Privileged}} {{.HostConfig.RestartPolicy.Name}}"
    assert host.docker("inspect", "--format", inspected, HUB) == "false unless-stopped"

    pull_anew(host)
    sent = host.origin.blobs_sent()
    pull_anew(host)
    assert host.origin.blobs_sent() == sent > 0
    host.origin.unplug()
    try:
        pull_anew(host)
    finally:
        host.origin.plug()


def test_a_pull_is_shown(host: DockerHost, root: Path) -> None:
    """Whoever watches sees how a pull goes on, and why one fails; nothing is shown of what only asks."""
    start(host, hub(host, root))
    seen: list[str] = []

    async def pull(_docker: Docker) -> None:
        docker = host.watched(seen.append)
        assert not await docker.has_image(APP)
        await docker.pull(APP)
        with pytest.raises(DockerFailed):
            await docker.pull(f"{APP}23")

    host.within(pull)

    assert any(line.endswith("Pull complete") for line in seen)
    assert f"Status: Downloaded newer image for {APP}" in seen
    assert "manifest" in seen[-1]
    host.docker("rmi", APP)


def test_left_alone_and_started(host: DockerHost, root: Path) -> None:
    """What runs is not touched; what was stopped is started, and still is the same container."""
    plan = hub(host, root)
    start(host, plan)
    identity = ("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", HUB)
    before = host.docker(*identity)

    assert [one.deed for one in start(host, plan).serving] == ["found"]
    assert host.docker(*identity) == before

    assert host.within(lambda docker: ContainersEngine(docker, plan).stop())
    assert host.names() == []
    assert [one.deed for one in start(host, plan).serving] == ["started"]
    assert host.docker(*identity).split()[0] == before.split()[0]


def test_seen_stopped_and_discarded(host: DockerHost, root: Path) -> None:
    """Commands see the containers with what they hold, stop them, and remove them without their content."""
    start(host, plan := all_three(host, root))
    pull_anew(host)
    sent = host.origin.blobs_sent()

    seen = host.within(lambda docker: CacheContainers(docker, root).look())
    assert [(one.cache, one.state, one.port) for one in seen] == [(own, "running", own.port) for own in plan.caches]
    assert sum(one.content.size for one in seen if one.content) > 1 << 20
    assert any(line.startswith("docker.io: ") for line in host.within(lambda d: CacheContainers(d, root).logs(9)))
    assert list(host.within(lambda docker: CacheContainers(docker, root).stop())) == THREE
    assert host.within(lambda docker: CacheContainers(docker, root).look())[0].state == "stopped"
    assert list(host.within(lambda docker: ContainersEngine(docker, plan).discard())) == THREE
    assert host.within(lambda docker: CacheContainers(docker, root).look()) == ()
    start(host, plan)
    pull_anew(host)
    assert host.origin.blobs_sent() == sent


def test_a_cluster_whose_network_was_pruned(host: DockerHost) -> None:
    """The stopped containers of a cluster can be started again on the network that was made anew."""
    host.within(ensure_network)
    container(host, "k3d-x-server-0", "--network", "obol-net", "--label", "k3d.cluster=x")
    host.docker("stop", "--time", "0", "k3d-x-server-0")
    host.docker("network", "prune", "--force")
    assert "not found" in host.refuses("start", "k3d-x-server-0")

    async def rejoin(docker: Docker) -> bool:
        return await NodeDocker(SystemRunner(), docker).rejoin("x", (await ensure_network(docker)).name)

    assert host.within(rejoin)
    host.docker("start", "k3d-x-server-0")


def test_dangling_network(host: DockerHost, root: Path) -> None:
    """A stopped cache whose network is gone is taken off it and started; also when obol-net was made anew."""
    plan = hub(host, root)
    start(host, plan)
    before = host.docker("inspect", "--format", "{{.Id}}", HUB)
    host.docker("network", "create", "k3d-obol-stack-old")
    host.docker("network", "connect", "k3d-obol-stack-old", HUB)
    host.docker("stop", HUB)
    host.docker("network", "rm", "k3d-obol-stack-old", "obol-net")
    assert "not found" in host.refuses("start", HUB)

    started = start(host, plan)

    assert [one.deed for one in started.serving] == ["started"], [str(x) for x in started.left_out]
    assert host.docker("inspect", "--format", "{{.Id}}", HUB) == before
    assert (
        host.docker("run", "--rm", "--network", "obol-net", BUSYBOX_IMAGE, f"wget -qO- http://{HUB}:5000/v2/") == "{}"
    )


def test_taken_port(host: DockerHost, root: Path) -> None:
    """A port that somebody took is named with its holder; the cache is made anew elsewhere, with its content."""
    plan = hub(host, root)
    start(host, plan)
    pull_anew(host)
    host.docker("stop", HUB)
    container(host, "somebody", "--publish", "127.0.0.1:54100:80")
    sent = host.origin.blobs_sent()

    first = start(host, plan)
    host.docker("rm", "--force", HUB)
    second = start(host, plan)

    assert [one.deed for one in (*first.serving, *second.serving)] == ["made", "made"]
    (substitute,) = second.substitutes
    assert (substitute.wanted, substitute.holder) == (54100, "container somebody")
    assert first.mirrors == second.mirrors
    pull_anew(host, f"127.0.0.1:{substitute.port}/library/app:1")
    assert host.origin.blobs_sent() == sent


def test_crash_loop(host: DockerHost, root: Path) -> None:
    """A registry that ends at its start is left out with its last words, and the others serve."""
    dead = RegistryContainer("ghcr.io", "http://127.0.0.1:9", 54101)
    plan = ContainersPlan(root, (*hub(host, root).caches, dead, push_registry()))

    started = start(host, plan)

    assert [one.cache.registry for one in started.serving] == ["docker.io", "localhost:54103"]
    (left_out,) = started.left_out
    assert isinstance(left_out.problem, EngineUnresponsive)
    assert "connection refused" in left_out.problem.why
    assert start(host, plan).left_out[0].problem.why == left_out.problem.why


def test_push_registry(host: DockerHost, root: Path) -> None:
    """What is pushed to localhost:54103 can be pulled by the name under which nodes find that registry."""
    (serving,) = start(host, ContainersPlan(root, (push_registry(),))).serving
    host.docker("tag", BUSYBOX_IMAGE, "localhost:54103/app:dev")
    host.docker("push", "--quiet", "localhost:54103/app:dev")
    host.docker("rmi", "localhost:54103/app:dev")

    mirror = serving.cache.mirror(serving.port)
    url = f"{mirror.endpoint}/v2/app/manifests/dev"
    assert mirror.registry == "localhost:54103"
    assert "schemaVersion" in host.docker("run", "--rm", "--network", "obol-net", BUSYBOX_IMAGE, f"wget -qO- {url}")


def test_removal(host: DockerHost, root: Path) -> None:
    """Removing takes containers and content; a cache that keeps its bytes elsewhere is left and named."""
    plan = hub(host, root)
    start(host, plan)
    pull_anew(host)
    with tempfile.TemporaryDirectory(prefix="obol-") as other:
        neighbour = ContainersPlan(Path(other), (RegistryContainer("ghcr.io", host.origin.url, 54101),))
        start(host, neighbour)

        (left,) = host.within(lambda docker: ContainersEngine(docker, plan).remove(content=True))

        assert THREE[1] in left
        assert host.names() == [THREE[1]]
        assert list(root.iterdir()) == []


def test_network_is_shared(host: DockerHost) -> None:
    """Those who need obol-net at once get one; it stays while a container needs it, stopped or not, and goes then."""

    async def six(docker: Docker) -> list[Network]:
        return await asyncio.gather(*(ensure_network(docker) for _ in range(6)))

    found = host.within(six)
    assert len(host.docker("network", "ls", "--quiet", "--filter", "name=obol-net").split()) == 1
    assert {network.id for network in host.within(six)} == {host.within(ensure_network).id}
    assert found[0].gateway.startswith("10.210.")

    container(host, "node", "--network", "obol-net")
    assert not host.within(remove_network)
    host.docker("stop", "--time", "0", "node")
    assert not host.within(remove_network)
    host.docker("rm", "node")
    assert host.within(remove_network)
    assert not host.within(remove_network)


def test_gateway(host: DockerHost, root: Path) -> None:
    """Nodes reach the builtin engine on the gateway; a firewall is noticed, and the command that is named opens it."""
    engine = Engine({"docker.io": host.origin.url, "ghcr.io": host.origin.url}, root, host.sandbox)
    engine.start()
    builtin = BuiltinEngine(BuiltinPlan(root / "store"))

    async def tried(docker: Docker) -> Reached | Unreached:
        gateway = GatewayMirrors(docker, builtin, hub(host, root))
        offer = await gateway.offer(await ensure_network(docker))
        return await gateway.try_from_inside(offer, BUSYBOX_IMAGE)

    try:
        reached = host.within(tried)
        assert isinstance(reached, Reached), str(reached)
        network = reached.offer.network
        wanted = [Mirror(name, f"http://{network.gateway}:{engine.port_of(name)}") for name in ("docker.io", "ghcr.io")]
        assert list(reached.offer.mirrors) == wanted

        host.program("iptables", "--insert", "INPUT", "--in-interface", network.bridge, "--jump", "DROP")
        closed = host.within(tried)
        assert isinstance(closed, Unreached)
        assert closed.missed == reached.offer.mirrors
        assert "timed out" in str(closed)

        sudo, *command = closed.remedy.split()
        assert sudo == "sudo"
        host.program(*command)
        assert isinstance(host.within(tried), Reached)
    finally:
        host.program("iptables", "--flush", "INPUT")
        engine.kill()


def test_image_through_the_engine(host: DockerHost, root: Path) -> None:
    """The image of the caches is pulled through the builtin engine where it runs, with the origin gone too."""
    host.publish(REGISTRY_IMAGE, "library/registry:3")
    engine = Engine({"docker.io": host.origin.url}, root, host.sandbox)
    engine.start()
    plan = ContainersPlan(root, hub(host, root).caches, loopback={"docker.io": engine.port})
    try:
        pull_anew(host, f"127.0.0.1:{engine.port}/library/registry:3")
        host.origin.unplug()

        host.within(lambda docker: ContainersEngine(docker, plan).fetch_image())

        assert host.docker("image", "inspect", "--format", "{{.RepoTags}}", REGISTRY_IMAGE) == "[registry:3]"
    finally:
        host.origin.plug()
        engine.kill()
        host.import_registry()


def test_reclaim(host: DockerHost, root: Path) -> None:
    """Leaked networks are freed, with a cache on them too; those of stopped clusters and of others are not touched."""
    start(host, hub(host, root))
    for name in ("leaked", "empty", "stopped", "running", "foreign"):
        host.docker("network", "create", f"k3d-obol-stack-{name}")
    host.docker("network", "create", "my-k3d-obol-stack-x")
    host.docker("network", "connect", "k3d-obol-stack-leaked", HUB)
    for name in ("stopped", "running"):
        network = f"k3d-obol-stack-{name}"
        labels = ("--label", f"k3d.cluster=obol-stack-{name}", "--label", "k3d.role=server")
        container(host, f"{network}-server-0", "--network", network, *labels)
    host.docker("stop", "--time", "0", "k3d-obol-stack-stopped-server-0")
    container(host, "somebody", "--network", "k3d-obol-stack-foreign")

    async def free(docker: Docker) -> Reclaimed:
        return await LeakedNetworks(docker).free()

    found = host.within(free)

    assert sorted(found.freed) == ["k3d-obol-stack-empty", "k3d-obol-stack-leaked"]
    assert found.left == ("The Docker network k3d-obol-stack-foreign is left: somebody is on it.",)
    host.docker("start", "k3d-obol-stack-stopped-server-0")
    assert HUB in host.names()
    assert host.within(free).freed == ()
    assert "my-k3d-obol-stack-x" in host.docker("network", "ls", "--format", "{{.Name}}")


def test_pool_exhausted(host: DockerHost) -> None:
    """When Docker has no address range left, it is said so; after reclaiming there is room again."""

    async def fill(docker: Docker) -> int:
        for count in range(40):
            try:
                await docker.create_network(f"k3d-obol-stack-{count}")
            except NoAddressPool:
                return count
        raise AssertionError("there is no end to it")

    made = host.within(fill)
    with pytest.raises(NoAddressPool, match="no address range left"):
        host.within(ensure_network)

    (line,) = host.within(lambda docker: LeakedNetworks(docker).reclaim())

    assert f"{made} Docker networks" in line
    assert host.within(ensure_network).name == "obol-net"
