"""dockerd with --registry-mirror: pings, six separate Accept lines, HEAD for the tag, and Docker Hub as second source.

The daemon, the engine and the upstream live in a network of their own, in which there is no way to Docker Hub.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.daemons import Daemon, dockerd
from tests.clients.images import FLAVOURS, GREETING, Flavour, Image, Library
from tests.clients.sandbox import Sandbox, needs_root, open_sandbox
from tests.clients.servers import Engine, Upstream

pytestmark = [
    pytest.mark.tool("dockerd", "docker", "containerd", "runc", "ip", "docker-registry", "busybox"),
    pytest.mark.xdist_group("clients-dockerd"),
    pytest.mark.parametrize("flavour", FLAVOURS),
    needs_root,
]


@dataclass(frozen=True, slots=True)
class Docker:
    """The docker command line and a dockerd of the test's own."""

    _run: Daemon

    def pull(self, reference: str) -> None:
        """Pull an image into an empty store."""
        assert self.images() == [], "the store is not empty"
        self._run("pull", "--quiet", reference)

    def images(self) -> list[str]:
        """The IDs of the images in the store: the digests of their configs."""
        return self._run("images", "--quiet", "--no-trunc").split()

    def digest(self, reference: str) -> str:
        """The digest under which the image was pulled."""
        name = self._run("image", "inspect", "--format={{index .RepoDigests 0}}", reference).strip()
        return name.partition("@")[2]

    def output(self, reference: str) -> str:
        return self._run("run", "--rm", "--network=none", "--pull=never", reference)

    def empty(self, reference: str) -> None:
        self._run("rmi", "--force", reference)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Where the upstream and the engine run, too."""
    with open_sandbox(own_network=True) as sandbox:
        yield sandbox


@pytest.fixture
def docker(workdir: Path, engine: Engine, sandbox: Sandbox) -> Iterator[Docker]:
    """A dockerd with an empty store whose mirror of Docker Hub is the engine."""
    settings = workdir / "daemon.json"
    settings.write_text("{}")
    with dockerd(workdir, settings, sandbox, f"--registry-mirror=http://127.0.0.1:{engine.port}") as daemon:
        yield Docker(daemon)


@pytest.fixture
def image(library: Library, flavour: Flavour) -> Image:
    """What was pushed in the dialect at hand."""
    return library.images[flavour]


@pytest.fixture
def reference(flavour: Flavour) -> str:
    """Its name."""
    return f"docker.io/library/app:{flavour}"


def test_cold(docker: Docker, upstream: Upstream, image: Image, reference: str) -> None:
    """A first pull has the right ID and digest, runs, and takes each blob across the upstream link once."""
    docker.pull(reference)

    assert docker.images() == [image.native.config.digest]
    assert docker.digest(reference) == image.index.digest
    assert docker.output(reference) == f"{GREETING}\n"
    assert upstream.blob_bytes() == image.native_blobs()


def test_warm(docker: Docker, upstream: Upstream, image: Image, reference: str) -> None:
    """A pull into an emptied store inside the tag's time to live costs no upstream request."""
    docker.pull(reference)
    docker.empty(reference)
    upstream.forget()

    docker.pull(reference)

    assert docker.images() == [image.native.config.digest]
    assert upstream.requests() == []


def test_upstream_is_gone(docker: Docker, upstream: Upstream, engine: Engine, image: Image, reference: str) -> None:
    """With the upstream unplugged and the tag's time over, the image is pulled into an emptied store and runs."""
    engine.restart(tag_ttl=0)
    docker.pull(reference)
    docker.empty(reference)
    upstream.unplug()

    docker.pull(reference)

    assert docker.digest(reference) == image.index.digest
    assert docker.output(reference) == f"{GREETING}\n"


def test_offline_engine(docker: Docker, upstream: Upstream, engine: Engine, image: Image, reference: str) -> None:
    """An engine that was started again with --offline serves what it once fetched."""
    docker.pull(reference)
    docker.empty(reference)
    upstream.unplug()
    engine.restart(offline=True)

    docker.pull(reference)

    assert docker.digest(reference) == image.index.digest
