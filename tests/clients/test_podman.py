"""podman: six separate Accept lines, no `?ns=`, and no second source once the manifest came from the mirror.

The image is run too: what arrived is a file system that works.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.containers import podman_settings, write_policy, write_registries
from tests.clients.images import FLAVOURS, GREETING, Flavour, Image, Library
from tests.clients.sandbox import needs_root, open_sandbox
from tests.clients.servers import Engine, Upstream, environment, run

pytestmark = [
    pytest.mark.tool("podman", "conmon", "runc", "docker-registry", "busybox"),
    pytest.mark.xdist_group("clients-podman"),
    pytest.mark.parametrize("flavour", FLAVOURS),
    needs_root,
]


@dataclass(frozen=True, slots=True)
class Podman:
    """podman with a store of the test's own."""

    prefix: tuple[str, ...]
    environment: dict[str, str]
    policy: Path

    def _run(self, *arguments: str) -> str:
        return run([*self.prefix, "podman", *arguments], self.environment)

    def pull(self, reference: str) -> str:
        """Pull an image that is not there yet, and return its ID."""
        assert self.images() == [], "the store is not empty"
        return self._run("pull", "--quiet", "--signature-policy", str(self.policy), reference).strip()

    def images(self) -> list[str]:
        """The IDs of the images in the store."""
        return self._run("images", "--quiet", "--no-trunc").split()

    def digests(self, reference: str) -> list[str]:
        """The digests by which the image can be named."""
        names: list[str] = json.loads(self._run("image", "inspect", reference))[0]["RepoDigests"]
        return [name.partition("@")[2] for name in names]

    def output(self, reference: str) -> str:
        return self._run("run", "--rm", "--network=none", "--pull=never", reference)

    def empty(self) -> None:
        self._run("rmi", "--all", "--force")


@pytest.fixture
def podman(workdir: Path, engine: Engine) -> Iterator[Podman]:
    """A podman with the engine as its mirror of docker.io and an empty store."""
    variables = {"CONTAINERS_REGISTRIES_CONF": str(write_registries(workdir, engine.port)), **podman_settings(workdir)}
    with open_sandbox(own_network=False) as sandbox:
        yield Podman(sandbox.everything, environment(workdir, **variables), write_policy(workdir))


@pytest.fixture
def image(library: Library, flavour: Flavour) -> Image:
    """What was pushed in the dialect at hand."""
    return library.images[flavour]


@pytest.fixture
def reference(flavour: Flavour) -> str:
    """Its name."""
    return f"docker.io/library/app:{flavour}"


def image_id(image: Image) -> str:
    """The ID of an image is the digest of its config."""
    return image.native.config.digest.removeprefix("sha256:")


def test_cold(podman: Podman, upstream: Upstream, image: Image, reference: str) -> None:
    """A first pull has the right ID and digest, runs, and takes each blob across the upstream link once."""
    pulled = podman.pull(reference)

    assert pulled == image_id(image)
    assert image.index.digest in podman.digests(reference)
    assert podman.output(reference) == f"{GREETING}\n"
    assert upstream.blob_bytes() == image.native_blobs()


def test_warm(podman: Podman, upstream: Upstream, image: Image, reference: str) -> None:
    """A pull into an emptied store inside the tag's time to live costs no upstream request."""
    podman.pull(reference)
    podman.empty()
    upstream.forget()

    pulled = podman.pull(reference)

    assert pulled == image_id(image)
    assert upstream.requests() == []


def test_upstream_is_gone(podman: Podman, upstream: Upstream, engine: Engine, image: Image, reference: str) -> None:
    """With the upstream unplugged and the tag's time over, the image is pulled into an emptied store and runs."""
    engine.restart(tag_ttl=0)
    podman.pull(reference)
    podman.empty()
    upstream.unplug()

    pulled = podman.pull(reference)

    assert pulled == image_id(image)
    assert podman.output(reference) == f"{GREETING}\n"


def test_offline_engine(podman: Podman, upstream: Upstream, engine: Engine, image: Image, reference: str) -> None:
    """An engine that was started again with --offline serves what it once fetched."""
    podman.pull(reference)
    podman.empty()
    upstream.unplug()
    engine.restart(offline=True)

    pulled = podman.pull(reference)

    assert pulled == image_id(image)
