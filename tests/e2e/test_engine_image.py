"""Our container image in the place of `registry`: the same variables, port and volume, in a real dockerd.

What a container of ours must do that one of `registry` does not: start while its upstream is out of reach.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from obol.caches.containers.engine import ContainersEngine, ContainersStarted
from obol.caches.containers.plan import ContainersPlan, RegistryContainer
from obol.caches.docker.network import ensure_network
from obol.machine.docker.cli import Docker
from tests.clients.containers import write_registries
from tests.clients.sandbox import needs_root
from tests.clients.servers import run
from tests.e2e.dockerhost import BUSYBOX_IMAGE, REGISTRY_IMAGE, DockerHost, open_docker_host
from tests.e2e.podmanhost import podman_environment
from tests.limits import scaled, wait_until
from tests.packaging.dockerfile import DOCKERFILE, changes
from tests.packaging.rootfs import write_root

pytestmark = [
    pytest.mark.tool("dockerd", "docker", "containerd", "runc", "ip", "iptables", "docker-registry", "busybox", "ldd"),
    pytest.mark.xdist_group("e2e-engine-image"),
    needs_root,
]

IMAGE = "obol-registry:test"
HUB = "k3d-obol-docker-io.localhost"
APP = "127.0.0.1:54100/library/app:1"

K3D = (
    *("--name", "k3d-hub", "--hostname", "k3d-hub", "--init", "--restart", "unless-stopped"),
    *("--tmpfs", "/run", "--tmpfs", "/var/run", "--label", "app=k3d", "--label", "k3d.role=registry"),
    *("--env", "K3S_KUBECONFIG_OUTPUT=/output/kubeconfig.yaml", "--publish", "127.0.0.1:54100:5000"),
)
"""What `k3d registry create hub --port 127.0.0.1:54100` asks for, but --privileged, which needs a machine to itself."""


@pytest.fixture(scope="module")
def machine() -> Iterator[DockerHost]:
    """A dockerd with our image, and another one at its origin."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name, open_docker_host(Path(name)) as host:
        archive = Path(name) / "root.tar"
        write_root(archive, Path(name))
        options = [word for change in changes(DOCKERFILE.read_text()) for word in ("--change", change)]
        host.docker("import", *options, str(archive), IMAGE)
        archive.unlink()
        host.publish_app()
        yield host


@pytest.fixture
def host(machine: DockerHost) -> Iterator[DockerHost]:
    """The same, with nothing but its images."""
    yield machine
    if containers := machine.docker("ps", "--all", "--quiet").split():
        machine.docker("rm", "--force", "--volumes", *containers)
    machine.docker("network", "prune", "--force")
    machine.origin.unplug()
    machine.origin.plug()


@pytest.fixture
def volume() -> Iterator[Path]:
    """A directory of root's, as Docker makes it for a bind mount."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def upstream(host: DockerHost) -> tuple[str, ...]:
    """The variable by which `registry` knows what it is a cache of."""
    return ("--env", f"REGISTRY_PROXY_REMOTEURL={host.origin.url}")


def cache(host: DockerHost, *options: str, image: str = IMAGE, command: Sequence[str] = ()) -> str:
    """Run a cache until it answers on port 54100; gives its ID."""
    container = host.docker("run", "--detach", *options, image, *command)
    wait_until(lambda: answers(host), story=lambda: host.logs(container))
    return container


def published(*options: str) -> tuple[str, ...]:
    """Options of a cache on loopback."""
    return ("--publish", "127.0.0.1:54100:5000", *options)


def answers(host: DockerHost) -> bool:
    """Whether a registry answers on port 54100 of the host."""
    quiet = "busybox wget -qO- http://127.0.0.1:54100/v2/ 2>&1 || true"
    return host.program("sh", "-c", quiet) == "{}"


def pull_anew(host: DockerHost) -> None:
    """Pull an image into a store that does not have it, and forget it."""
    host.docker("pull", "--quiet", APP)
    host.docker("rmi", APP)


@pytest.mark.parametrize("image", [REGISTRY_IMAGE, IMAGE])
def test_in_place_of_registry(host: DockerHost, volume: Path, image: str) -> None:
    """With the options of k3d both images serve a second pull without asking for a blob again, offline too."""
    storage = ("--volume", f"{volume}:/var/lib/registry")
    cache(host, *K3D, *upstream(host), *storage, image=image)
    before = host.origin.blobs_sent()
    pull_anew(host)
    sent = host.origin.blobs_sent()
    assert sent > before
    pull_anew(host)
    assert host.origin.blobs_sent() == sent
    host.origin.unplug()
    pull_anew(host)


def test_replaced_while_offline(host: DockerHost, volume: Path) -> None:
    """A new container over the same volume serves what is there from its first moment, with no upstream at all."""
    storage = ("--volume", f"{volume}:/var/lib/registry")
    first = cache(host, *K3D, *upstream(host), *storage)
    pull_anew(host)
    assert {path.stat().st_uid for path in (volume / "obol").rglob("*")} == {0}
    before = time.monotonic()
    host.docker("stop", first)
    assert time.monotonic() - before < scaled(5)
    assert host.docker("inspect", "--format", "{{.State.ExitCode}}", first) == "0"
    host.docker("rm", first)
    host.origin.unplug()

    cache(host, *K3D, *upstream(host), *storage, "--env", "OBOL_CACHE_TAG_TTL=0")

    pull_anew(host)


@pytest.mark.tool("podman")
def test_podman(host: DockerHost, volume: Path) -> None:
    """A pull by podman, by the name of the registry that it stands for, works cold and offline."""
    cache(host, *published(*upstream(host)))
    environ = {**podman_environment(volume), "CONTAINERS_REGISTRIES_CONF": str(write_registries(volume, 54100))}

    def pull() -> None:
        podman = [*host.sandbox.everything, "podman"]
        run([*podman, "pull", "--quiet", "docker.io/library/app:1"], environ)
        run([*podman, "rmi", "--force", "docker.io/library/app:1"], environ)

    pull()
    host.origin.unplug()
    pull()


def test_names(host: DockerHost) -> None:
    """Containers find it by its name and its aliases; a name of public DNS is not answered to unless it is set."""
    host.docker("network", "create", "compose")
    cache(
        host,
        *published("--name", "stack_mirror_1", "--network", "compose", "--network-alias", "mirror"),
        *upstream(host),
    )

    def ask(url: str, *options: str) -> str:
        command = f"wget {' '.join(options)} -qO- {url} 2>&1 || true"
        return host.docker("run", "--rm", "--network", "compose", BUSYBOX_IMAGE, command)

    assert ask("http://mirror:5000/v2/") == ask("http://stack_mirror_1:5000/v2/") == "{}"
    assert "421" in ask("http://mirror:5000/v2/", "--header", "Host:attacker.example")


def test_owner(host: DockerHost, volume: Path) -> None:
    """It writes as whoever owns the directory: a user in theirs, and in a new volume nobody whom the host knows."""
    host.program("chown", "1000:1000", str(volume))
    one = cache(host, *published("--volume", f"{volume}:/var/lib/registry"), *upstream(host))
    assert {path.stat().st_uid for path in (volume / "obol").rglob("*")} == {1000}
    host.docker("rm", "--force", one)

    one = cache(host, *published(), *upstream(host))
    written = host.docker("exec", one, "find", "/var/lib/registry/obol/version", "-user", "54100")
    assert written == "/var/lib/registry/obol/version"


def test_health(host: DockerHost) -> None:
    """Docker finds it healthy, and its content can be looked at from within."""
    one = cache(host, *published("--health-interval", "1s"), *upstream(host))

    pull_anew(host)

    state = ("inspect", "--format", "{{.State.Health.Status}} {{.State.Health.Log}}", one)
    wait_until(lambda: host.docker(*state).startswith("healthy "), story=lambda: host.docker(*state))
    assert "library/app:1" in host.docker("exec", one, "obol", "cache", "ls")


def test_settings_file(host: DockerHost, volume: Path) -> None:
    """A settings file that is mounted where `registry` has its own is obeyed."""
    file = volume / "config.yml"
    file.write_text(f"version: 0.1\nhttp: {{addr: ':5001'}}\nproxy: {{remoteurl: '{host.origin.url}'}}\n")

    cache(host, "--volume", f"{file}:/etc/docker/registry/config.yml", "--publish", "127.0.0.1:54100:5001")

    pull_anew(host)


def test_refusal(host: DockerHost) -> None:
    """Without an upstream it ends at once and says why."""
    assert "nothing can be pushed to it" in host.refuses("run", "--rm", IMAGE)


def test_containers_engine(host: DockerHost, volume: Path) -> None:
    """The containers engine runs on it, and starts while the registries are out of reach."""
    hub = RegistryContainer("docker.io", host.origin.url, 54100)
    quay = RegistryContainer("quay.io", "http://127.0.0.1:9", 54102)
    plan = ContainersPlan(volume, (hub, quay), image=IMAGE)

    async def start(docker: Docker) -> ContainersStarted:
        return await ContainersEngine(docker, plan).start(await ensure_network(docker))

    first = host.within(start)
    assert (first.left_out, first.notes) == ((), ())
    pull_anew(host)
    # A node says which registry it means; here that is not what the upstream's address says.
    node = f"wget -qO- 'http://{HUB}:5000/v2/library/app/manifests/1?ns=docker.io'"
    assert "schemaVersion" in host.docker("run", "--rm", "--network", "obol-net", BUSYBOX_IMAGE, node)
    host.origin.unplug()
    assert host.within(lambda docker: ContainersEngine(docker, plan).stop())

    again = host.within(start)

    assert [one.deed for one in again.serving] == ["started", "started"]
    pull_anew(host)
    assert host.within(lambda docker: ContainersEngine(docker, plan).remove(content=True)) == ()
    assert list(volume.iterdir()) == []
