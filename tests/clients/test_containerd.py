"""containerd, as in a Kubernetes node: `?ns=docker.io` on every request, HEAD for the tag, three layers at a time."""

import asyncio
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from obol.caches.clients.containerd import trust
from obol.rendering.mirrors import hosts_toml
from obol.rendering.registries import Mirror
from tests.clients.daemons import Daemon, containerd
from tests.clients.images import FLAVOURS, GREETING, Flavour, Image, Library, push
from tests.clients.sandbox import needs_root
from tests.clients.servers import Engine, Upstream, environment
from tests.fakes.tls import make_certificate, secure_server
from tests.limits import scaled

pytestmark = [
    pytest.mark.tool("containerd", "ctr", "runc", "docker-registry", "busybox"),
    pytest.mark.xdist_group("clients-containerd"),
    needs_root,
]

both_flavours = pytest.mark.parametrize("flavour", FLAVOURS)

# The server, which is asked when no host serves, is a port where nobody listens.
_SERVER = 'server = "http://127.0.0.1:9"\n'
_HOST = """\
[host."http://127.0.0.1:{port}"]
capabilities = ["pull", "resolve"]
"""

# Overlay does not work over every file system.
_SNAPSHOTTER = "--snapshotter=native"


@dataclass(frozen=True, slots=True)
class Ctr:
    """containerd's own client and a containerd of the test's own."""

    _run: Daemon

    def mirror(self, registry: str, *ports: int) -> None:
        """Ask these ports, one after the other, for everything of a registry."""
        directory = self._run.workdir / "hosts" / registry
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "hosts.toml").write_text(_SERVER + "".join(_HOST.format(port=port) for port in ports))

    def pull(self, reference: str) -> None:
        """Pull and unpack for this machine's platform, into an empty store."""
        assert self.contents() == set(), "the store is not empty"
        self._run("images", "pull", _SNAPSHOTTER, f"--hosts-dir={self._run.workdir / 'hosts'}", reference)

    def contents(self) -> set[str]:
        """The digests of everything in the content store."""
        return set(self._run("content", "ls", "--quiet").split())

    def digest(self, reference: str) -> str:
        lines = [line.split() for line in self._run("images", "ls", f"name=={reference}").splitlines()]
        return lines[1][2]

    def output(self, reference: str) -> str:
        return self._run("run", "--rm", _SNAPSHOTTER, reference, "greeter")

    def empty(self, reference: str) -> None:
        """Forget the image, its content and its snapshots."""
        self._run("images", "rm", "--sync", reference)


@pytest.fixture
def ctr(workdir: Path, engine: Engine) -> Iterator[Ctr]:
    """A containerd with an empty store that asks the engine for docker.io."""
    with containerd(workdir) as daemon:
        client = Ctr(daemon)
        client.mirror("docker.io", engine.port)
        yield client


def reference(flavour: Flavour) -> str:
    """The name of the image that was pushed in one dialect."""
    return f"docker.io/library/app:{flavour}"


def native_contents(image: Image) -> set[str]:
    """Everything that a pull for this machine's platform brings."""
    return {image.index.digest, image.native.manifest.digest, *image.native_blobs()}


@both_flavours
def test_cold(ctr: Ctr, upstream: Upstream, library: Library, flavour: Flavour) -> None:
    """A first pull brings exactly this platform's content, runs, and takes each blob across the upstream link once."""
    image = library.images[flavour]

    ctr.pull(reference(flavour))

    assert ctr.digest(reference(flavour)) == image.index.digest
    assert ctr.contents() == native_contents(image)
    assert ctr.output(reference(flavour)) == f"{GREETING}\n"
    assert upstream.blob_bytes() == image.native_blobs()


@both_flavours
def test_warm(ctr: Ctr, upstream: Upstream, library: Library, flavour: Flavour) -> None:
    """A pull into an emptied store inside the tag's time to live costs no upstream request."""
    ctr.pull(reference(flavour))
    ctr.empty(reference(flavour))
    upstream.forget()

    ctr.pull(reference(flavour))

    assert ctr.contents() == native_contents(library.images[flavour])
    assert upstream.requests() == []


@both_flavours
def test_upstream_is_gone(ctr: Ctr, upstream: Upstream, engine: Engine, library: Library, flavour: Flavour) -> None:
    """With the upstream unplugged and the tag's time over, the image is pulled into an emptied store and runs."""
    engine.restart(tag_ttl=0)
    ctr.pull(reference(flavour))
    ctr.empty(reference(flavour))
    upstream.unplug()

    ctr.pull(reference(flavour))

    assert ctr.contents() == native_contents(library.images[flavour])
    assert ctr.output(reference(flavour)) == f"{GREETING}\n"


def test_offline_engine(ctr: Ctr, upstream: Upstream, engine: Engine, library: Library) -> None:
    """An engine that was started again with --offline serves what it once fetched, tag and digest alike."""
    image = library.images["oci"]
    by_digest = f"docker.io/library/app@{image.index.digest}"
    ctr.pull(reference("oci"))
    ctr.empty(reference("oci"))
    upstream.unplug()
    engine.restart(tag_ttl=0, offline=True)

    ctr.pull(reference("oci"))
    ctr.empty(reference("oci"))
    ctr.pull(by_digest)

    assert ctr.digest(by_digest) == image.index.digest
    assert ctr.contents() == native_contents(image)


class TestTwoRegistries:
    """docker.io and ghcr.io behind one engine, each with a port of its own and an image of the same name."""

    @pytest.fixture
    def other(self, workdir: Path) -> Iterator[Upstream]:
        """ghcr.io, as far as the engine knows."""
        registry = Upstream(workdir / "other", workdir)
        push(registry.port, "library/app", "oci", "docker")
        registry.forget()
        yield registry
        registry.unplug()

    @pytest.fixture
    def upstreams(self, upstream: Upstream, other: Upstream) -> Mapping[str, str]:
        return {"docker.io": upstream.url, "ghcr.io": other.url}

    def test_wrong_port_first(self, ctr: Ctr, engine: Engine, other: Upstream, library: Library) -> None:
        """The port of ghcr.io refuses what is asked of docker.io by `?ns=`, so that the next host serves it."""
        ctr.mirror("docker.io", engine.port_of("ghcr.io"), engine.port)

        ctr.pull(reference("oci"))

        assert ctr.contents() == native_contents(library.images["oci"])
        assert other.requests() == []

    def test_each_has_its_own(self, ctr: Ctr, engine: Engine, upstream: Upstream, library: Library) -> None:
        """The same repository and tag of two registries are two images."""
        ctr.mirror("ghcr.io", engine.port_of("ghcr.io"))
        ctr.pull(reference("oci"))
        ctr.empty(reference("oci"))
        upstream.forget()

        ctr.pull("ghcr.io/library/app:oci")

        assert ctr.contents() == native_contents(library.images["docker"])
        assert upstream.requests() == []


@pytest.mark.tool("openssl")
def test_certificates_beside_a_hosts_toml(workdir: Path) -> None:
    """The registry is trusted by the ca.crt beside our hosts.toml only because that names it."""
    make_certificate(workdir)
    server = asyncio.new_event_loop()
    with ThreadPoolExecutor(1) as pool, containerd(workdir) as ctr:
        closing = asyncio.Event()
        port = Future[int]()

        async def serve() -> None:
            async with secure_server(workdir / "both.pem") as bound:
                port.set_result(bound)
                await closing.wait()

        pool.submit(server.run_until_complete, serve())
        registry = f"127.0.0.1:{port.result(10)}"
        folder = workdir / "certs.d" / registry
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes((workdir / "cert.pem").read_bytes())
        pull = (*ctr.client, "images", "pull", f"--hosts-dir={workdir / 'certs.d'}", f"{registry}/a/b:c")
        said = []
        for trusted in (trust(registry, (workdir / "certs.d",)), None):
            (folder / "hosts.toml").write_text(hosts_toml(Mirror(registry, "http://127.0.0.1:1"), trusted))
            done = subprocess.run(pull, env=environment(workdir), capture_output=True, timeout=scaled(30), check=False)
            said.append(b"x509" in done.stderr + done.stdout)
        server.call_soon_threadsafe(closing.set)
    server.close()

    assert said == [False, True]
