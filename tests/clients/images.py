"""A small real image, in both dialects, and how it gets into a registry.

It is made here from the machine's static busybox, so that the clients have something to run and no image has to be
fetched from anywhere. The bytes are the same in every run; the platforms share their layers and differ in their config.
"""

import gzip
import hashlib
import http.client
import io
import json
import platform
import random
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from tests.limits import scaled

Flavour = Literal["oci", "docker"]

FLAVOURS: tuple[Flavour, ...] = ("oci", "docker")
GREETING = "hello from obol"
BUSYBOX = Path("/bin/busybox")
COMMANDS = ("sh", "cat", "echo", "ls")
ARCHITECTURES = ("amd64", "arm64")
PAYLOAD_PATH = "payload"
PAYLOAD_SIZE = 14 * 1024 * 1024
"""Above the size from which the engine fetches a blob in segments, so that real clients meet that path too."""


@dataclass(frozen=True, slots=True)
class MediaTypes:
    """The words of one dialect."""

    index: str
    manifest: str
    config: str
    layer: str


MEDIA_TYPES: Mapping[Flavour, MediaTypes] = {
    "oci": MediaTypes(
        index="application/vnd.oci.image.index.v1+json",
        manifest="application/vnd.oci.image.manifest.v1+json",
        config="application/vnd.oci.image.config.v1+json",
        layer="application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    "docker": MediaTypes(
        index="application/vnd.docker.distribution.manifest.list.v2+json",
        manifest="application/vnd.docker.distribution.manifest.v2+json",
        config="application/vnd.docker.container.image.v1+json",
        layer="application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes with their type, named by their digest."""

    media_type: str
    body: bytes = field(repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", "sha256:" + hashlib.sha256(self.body).hexdigest())

    def descriptor(self) -> dict[str, str | int]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.body)}


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """What one architecture gets."""

    manifest: Content
    config: Content


@dataclass(frozen=True, slots=True)
class Image:
    """An index of two platforms over the same layers."""

    index: Content
    platforms: Mapping[str, PlatformImage]
    layers: tuple[Content, ...]

    @property
    def native(self) -> PlatformImage:
        """What a client on this machine chooses."""
        return self.platforms[native_architecture()]

    def native_blobs(self) -> dict[str, int]:
        """The sizes of the blobs that a client on this machine fetches."""
        return {blob.digest: len(blob.body) for blob in (self.native.config, *self.layers)}

    def all_blobs(self) -> dict[str, int]:
        """The sizes of the blobs of both platforms."""
        configs = (chosen.config for chosen in self.platforms.values())
        return {blob.digest: len(blob.body) for blob in (*configs, *self.layers)}


@dataclass(frozen=True, slots=True)
class Library:
    """A docker-registry's directory in which library/app has one tag per dialect."""

    storage: Path
    images: Mapping[Flavour, Image]


def native_architecture() -> str:
    """This machine's architecture, in the words of an image index."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def _directory(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    entry.mode = 0o755
    return entry


def _link(name: str, target: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.SYMTYPE
    entry.linkname = target
    return entry


def _add_file(tar: tarfile.TarFile, name: str, body: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(body)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(body))


def _programs() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        # A root that only its owner may enter would shut out whoever runs the image as another user.
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            tar.addfile(_directory(name))
        _add_file(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for name in COMMANDS:
            tar.addfile(_link(f"bin/{name}", "busybox"))
    return out.getvalue()


def _payload() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add_file(tar, PAYLOAD_PATH, random.Random(54100).randbytes(PAYLOAD_SIZE), 0o644)
    return out.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _config(architecture: str, diffs: tuple[bytes, ...]) -> bytes:
    return _json(
        {
            "created": "2026-01-01T00:00:00Z",
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/bin/sh", "-c", f"echo {GREETING}"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(diff).hexdigest() for diff in diffs]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "obol"} for _ in diffs],
        }
    )


@cache
def build(flavour: Flavour) -> Image:
    """The image in one dialect."""
    words = MEDIA_TYPES[flavour]
    diffs = (_programs(), _payload())
    layers = tuple(Content(words.layer, gzip.compress(diff, compresslevel=1, mtime=0)) for diff in diffs)
    platforms: dict[str, PlatformImage] = {}
    for architecture in ARCHITECTURES:
        config = Content(words.config, _config(architecture, diffs))
        manifest = {
            "schemaVersion": 2,
            "mediaType": words.manifest,
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        }
        platforms[architecture] = PlatformImage(Content(words.manifest, _json(manifest)), config)
    entries = [
        chosen.manifest.descriptor() | {"platform": {"architecture": architecture, "os": "linux"}}
        for architecture, chosen in platforms.items()
    ]
    index = Content(words.index, _json({"schemaVersion": 2, "mediaType": words.index, "manifests": entries}))
    return Image(index, platforms, layers)


class Pushing:
    """One connection to a registry that takes pushes."""

    def __init__(self, port: int, repository: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=scaled(30))
        self._base = f"/v2/{repository}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        self._connection.close()

    def _send(self, method: str, target: str, body: bytes = b"", media_type: str = "") -> tuple[int, str]:
        headers = {"Content-Type": media_type} if media_type else {}
        self._connection.request(method, target, body, headers)
        with self._connection.getresponse() as answer:
            answer.read()
            return answer.status, answer.headers.get("Location", "")

    def blob(self, content: Content) -> None:
        status, location = self._send("POST", f"{self._base}/blobs/uploads/")
        assert status == 202, f"the registry does not begin an upload: {status}"
        where = urlsplit(location)
        target = f"{where.path}?{where.query}&digest={content.digest}"
        status, _ = self._send("PUT", target, content.body, "application/octet-stream")
        assert status == 201, f"the registry refuses blob {content.digest}: {status}"

    def manifest(self, content: Content, reference: str) -> None:
        """Store one manifest under a tag or its digest."""
        status, _ = self._send("PUT", f"{self._base}/manifests/{reference}", content.body, content.media_type)
        assert status == 201, f"the registry refuses manifest {reference}: {status}"


def push(port: int, repository: str, tag: str, flavour: Flavour) -> Image:
    """Build the image and push it into the registry on a loopback port."""
    image = build(flavour)
    with Pushing(port, repository) as registry:
        for layer in image.layers:
            registry.blob(layer)
        for chosen in image.platforms.values():
            registry.blob(chosen.config)
            registry.manifest(chosen.manifest, chosen.manifest.digest)
        registry.manifest(image.index, tag)
    return image
