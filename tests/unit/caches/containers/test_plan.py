from dataclasses import replace
from pathlib import Path

import pytest

from obol.caches.containers.plan import ContainersPlan, RegistryContainer, forgets, notes_on, published_port
from obol.machine.docker.values import Container, PortBinding
from obol.rendering.registries import Mirror
from tests.unit.caches.containerworld import GHCR, HUB, PUSH, QUAY

PLAN = ContainersPlan(Path("/root"), (HUB,))


@pytest.mark.parametrize(
    ("cache", "name", "directory"),
    [
        (HUB, "k3d-obol-docker-io.localhost", "docker.io"),
        (GHCR, "k3d-obol-ghcr-io.localhost", "ghcr.io"),
        (QUAY, "k3d-obol-quay-io.localhost", "quay.io"),
        (PUSH, "k3d-obol-local.localhost", "localhost_54103"),
        (RegistryContainer("r.x.io:5000", "http://x", 0), "k3d-obol-r-x-io-5000.localhost", "r.x.io_5000"),
    ],
)
def test_names(cache: RegistryContainer, name: str, directory: str) -> None:
    """Names and directories are those of the original system."""
    assert (cache.name, cache.directory) == (name, directory)


def test_mirrors() -> None:
    """Nodes find a container by its name; what was pushed is called by the port that people push to."""
    assert HUB.mirror(40000) == Mirror("docker.io", "http://k3d-obol-docker-io.localhost:5000")
    assert PUSH.mirror(54103) == Mirror("localhost:54103", "http://k3d-obol-local.localhost:5000", takes_pushes=True)
    assert PUSH.mirror(40000).registry == "localhost:40000"


def test_options() -> None:
    """A container is published on loopback only, is not privileged, comes back after a reboot, and has k3d's labels."""
    spec = HUB.spec(image="registry:3", network="obol-net", port=54100, directory=Path("/root/docker.io"))

    assert " ".join(spec.options()) == (
        "--name k3d-obol-docker-io.localhost --network obol-net --restart unless-stopped "
        "--publish 127.0.0.1:54100:5000 --volume /root/docker.io:/var/lib/registry:z "
        "--env REGISTRY_PROXY_REMOTEURL=https://registry-1.docker.io --env REGISTRY_PROXY_TTL=0 "
        "--env OBOL_CACHE_UPSTREAM=docker.io=https://registry-1.docker.io "
        "--label app=k3d --label k3d.cluster= --label k3d.registry.host= --label k3d.registry.hostIP=127.0.0.1 "
        "--label k3d.role=registry --label k3s.registry.port.external=54100 "
        "--label k3s.registry.port.internal=5000 --label obol.cache=docker.io"
    )


def test_push_registry_has_nothing_behind_it() -> None:
    """The push registry is no proxy."""
    assert PUSH.spec(image="i", network="n", port=1, directory=Path("/d")).environment == {}


FOUND = Container("i", HUB.name, "running")
STORAGE = "/var/lib/registry"


def test_whose_it_is() -> None:
    """Ours is told by its label, and the original system's by its upstream; others of that name are foreign."""
    right, wrong = (
        {"REGISTRY_PROXY_REMOTEURL": "https://registry-1.docker.io/"},
        {"REGISTRY_PROXY_REMOTEURL": "https://evil.example"},
    )
    ours = {"obol.cache": "docker.io"}

    assert not HUB.foreign(replace(FOUND, environment=right))
    assert HUB.foreign(replace(FOUND, environment=wrong))
    assert HUB.foreign(replace(FOUND, labels={"obol.cache": "docker-io"}, environment=right))
    assert HUB.outdated(replace(FOUND, labels=ours, environment=wrong))
    assert not HUB.outdated(replace(FOUND, labels=ours, environment=right))
    assert not HUB.outdated(replace(FOUND, environment=wrong))


def test_published_port() -> None:
    """The port is that of the registry, not of its debug server."""
    debug, real = PortBinding("127.0.0.1", 1, "5001/tcp"), PortBinding("127.0.0.1", 54100, "5000/tcp")

    assert published_port(replace(FOUND, published=(debug, real))) == 54100
    assert published_port(replace(FOUND, published=(debug,))) == 0


@pytest.mark.parametrize(
    ("image", "old"),
    [
        ("registry:2", True),
        ("docker.io/library/registry:2.8.3", True),
        ("registry:3", False),
        ("registry", False),
        ("ghcr.io/a/registry:2", False),
        ("sha256:abc", False),
        ("", False),
        (f"registry@sha256:{'0' * 64}", False),
    ],
)
def test_forgets(image: str, old: bool) -> None:
    """Distribution 2 is known by its tag."""
    assert forgets(image) is old


def test_notes() -> None:
    """What is not as we would make it is told, each with what to do; a container of ours has no notes."""
    mine = replace(
        FOUND,
        image="registry:3",
        published=(PortBinding("127.0.0.1", 54100, "5000/tcp"),),
        mounts={STORAGE: "/host_mnt/root/docker.io"},
    )
    other = replace(
        FOUND,
        image="registry:2",
        published=(PortBinding("", 54100, "5000/tcp"),),
        mounts={STORAGE: "/home/eve/docker.io"},
    )

    assert notes_on(PLAN, HUB, mine) == ()
    forgetful, public, elsewhere = notes_on(PLAN, HUB, other)
    assert "7 days" in forgetful
    assert f"docker rm -f {HUB.name}" in public
    assert "/home/eve/docker.io" in elsewhere
