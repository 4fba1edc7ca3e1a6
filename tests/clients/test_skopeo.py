"""skopeo: six separate Accept lines, no `?ns=`, and no second source once the manifest came from the mirror."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.containers import write_policy, write_registries
from tests.clients.images import FLAVOURS, Flavour, Image, Library
from tests.clients.sandbox import isolated_where_possible
from tests.clients.servers import Engine, Upstream, environment, run

pytestmark = pytest.mark.tool("skopeo", "docker-registry", "busybox")

both_flavours = pytest.mark.parametrize("flavour", FLAVOURS)


@dataclass(frozen=True, slots=True)
class Skopeo:
    """skopeo keeps nothing of its own: each copy goes into a new directory."""

    workdir: Path
    registries: Path
    policy: Path
    prefix: tuple[str, ...]

    def _run(self, *arguments: str) -> str:
        files = ("--registries-conf", str(self.registries), "--policy", str(self.policy), "--tmpdir", str(self.workdir))
        return run([*self.prefix, "skopeo", *files, *arguments], environment(self.workdir))

    def copy(self, reference: str, transport: str = "dir") -> Path:
        """Copy both platforms into a new directory of the given layout, and return it."""
        target = self.workdir / f"copy-{uuid.uuid4().hex}"
        options = ("--src-tls-verify=false", "--all", "--preserve-digests")
        self._run("copy", *options, f"docker://{reference}", f"{transport}:{target}")
        return target

    def inspect(self, reference: str, *options: str) -> str:
        return self._run("inspect", "--tls-verify=false", *options, f"docker://{reference}")


@pytest.fixture
def skopeo(workdir: Path, engine: Engine) -> Iterator[Skopeo]:
    """A skopeo with the engine as its mirror of docker.io."""
    with isolated_where_possible() as sandbox:
        yield Skopeo(workdir, write_registries(workdir, engine.port), write_policy(workdir), sandbox.everything)


def reference(flavour: Flavour) -> str:
    """The name of the image that was pushed in one dialect."""
    return f"docker.io/library/app:{flavour}"


def digests_of(directory: Path) -> set[str]:
    """The digests of all files that carry a digest as their name; each must be the file's own."""
    named = {path for path in directory.rglob("*") if len(path.name.partition(".")[0]) == 64}
    for path in named:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.partition(".")[0]
    return {"sha256:" + path.name.partition(".")[0] for path in named}


def assert_whole(directory: Path, image: Image) -> None:
    """The directory holds the index and everything below it, byte for byte."""
    manifests = {chosen.manifest.digest for chosen in image.platforms.values()}
    assert (directory / "manifest.json").read_bytes() == image.index.body
    assert digests_of(directory) == manifests | set(image.all_blobs())


@both_flavours
def test_cold(skopeo: Skopeo, upstream: Upstream, engine: Engine, library: Library, flavour: Flavour) -> None:
    """A first copy is byte for byte what was pushed; each blob crosses the upstream link once, and is counted so."""
    image = library.images[flavour]

    copied = skopeo.copy(reference(flavour))

    assert_whole(copied, image)
    assert upstream.blob_bytes() == image.all_blobs()
    manifests = (image.index, *(chosen.manifest for chosen in image.platforms.values()))
    expected = sum(image.all_blobs().values()) + sum(len(manifest.body) for manifest in manifests)
    assert engine.traffic().bytes_from_upstream == expected


def test_cold_together(skopeo: Skopeo, upstream: Upstream, library: Library) -> None:
    """Copies of one image that begin at the same time take each blob across the upstream link once."""
    image = library.images["oci"]

    with ThreadPoolExecutor(max_workers=3) as pool:
        copies = list(pool.map(skopeo.copy, [reference("oci")] * 3))

    for copied in copies:
        assert_whole(copied, image)
    assert upstream.blob_bytes() == image.all_blobs()


@both_flavours
def test_warm(skopeo: Skopeo, upstream: Upstream, engine: Engine, library: Library, flavour: Flavour) -> None:
    """A second copy inside the tag's time to live is served without one upstream request, and counted as saved."""
    skopeo.copy(reference(flavour))
    before = engine.traffic()
    upstream.forget()

    copied = skopeo.copy(reference(flavour))

    assert_whole(copied, library.images[flavour])
    assert upstream.requests() == []
    after = engine.traffic()
    assert after.bytes_from_upstream == before.bytes_from_upstream
    assert after.bytes_from_cache - before.bytes_from_cache >= sum(library.images[flavour].all_blobs().values())


@both_flavours
def test_tag_is_checked_again(skopeo: Skopeo, upstream: Upstream, engine: Engine, flavour: Flavour) -> None:
    """With tags that are never trusted, a warm copy costs HEAD requests for the tag and nothing else."""
    engine.restart(tag_ttl=0)
    skopeo.copy(reference(flavour))
    upstream.forget()

    skopeo.copy(reference(flavour))

    assert {(seen.method, seen.target) for seen in upstream.requests()} == {
        ("HEAD", f"/v2/library/app/manifests/{flavour}")
    }


@both_flavours
def test_upstream_is_gone(
    skopeo: Skopeo, upstream: Upstream, engine: Engine, library: Library, flavour: Flavour
) -> None:
    """With the upstream unplugged and the tag's time over, the image is copied all the same."""
    engine.restart(tag_ttl=0)
    skopeo.copy(reference(flavour))
    upstream.unplug()

    copied = skopeo.copy(reference(flavour))

    assert_whole(copied, library.images[flavour])


def test_offline_engine(skopeo: Skopeo, upstream: Upstream, engine: Engine, library: Library) -> None:
    """An engine that was started again with --offline serves what it once fetched, tag and digest alike."""
    skopeo.copy(reference("oci"))
    upstream.unplug()
    engine.restart(tag_ttl=0, offline=True)

    by_tag = skopeo.copy(reference("oci"))
    by_digest = skopeo.copy(f"docker.io/library/app@{library.images['oci'].index.digest}")

    assert_whole(by_tag, library.images["oci"])
    assert_whole(by_digest, library.images["oci"])


def test_engine_is_killed(skopeo: Skopeo, upstream: Upstream, engine: Engine, library: Library) -> None:
    """An engine that was killed without a chance to tidy up has kept every blob that it served."""
    skopeo.copy(reference("oci"))
    engine.kill()
    upstream.forget()
    engine.start()

    copied = skopeo.copy(reference("oci"))

    assert_whole(copied, library.images["oci"])
    assert upstream.blob_bytes() == {}


def test_upstream_comes_back(skopeo: Skopeo, upstream: Upstream, engine: Engine, library: Library) -> None:
    """What could not be fetched while the upstream was unplugged is fetched once it is plugged in again."""
    skopeo.copy(reference("oci"))
    upstream.unplug()
    skopeo.copy(reference("oci"))
    upstream.plug()

    copied = skopeo.copy(reference("docker"))

    assert_whole(copied, library.images["docker"])


def test_image_layout(skopeo: Skopeo, library: Library) -> None:
    """A copy into an OCI image layout keeps the digest of the index and of everything below it."""
    image = library.images["oci"]

    layout = skopeo.copy(reference("oci"), transport="oci")

    entries = json.loads((layout / "index.json").read_bytes())["manifests"]
    manifests = {chosen.manifest.digest for chosen in image.platforms.values()}
    assert [entry["digest"] for entry in entries] == [image.index.digest]
    assert digests_of(layout) == {image.index.digest} | manifests | set(image.all_blobs())


@both_flavours
def test_inspect(skopeo: Skopeo, library: Library, flavour: Flavour) -> None:
    """`inspect` shows the digest of the index and the layers of this machine's platform."""
    image = library.images[flavour]

    shown = json.loads(skopeo.inspect(reference(flavour), "--no-tags"))

    assert shown["Digest"] == image.index.digest
    assert shown["Layers"] == [layer.digest for layer in image.layers]
    assert skopeo.inspect(reference(flavour), "--raw").encode() == image.index.body
