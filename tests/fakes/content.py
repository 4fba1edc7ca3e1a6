"""Images made in memory: the same seed gives the same bytes on every machine.

Layers are random bytes under a real layer media type. Nothing here unpacks them, and random bytes do not compress, so
what a test counts on the wire is what the image weighs.
"""

import hashlib
import json
import random
from dataclasses import dataclass

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest or index as a registry keeps it: exact bytes and their type."""

    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class FakeImage:
    """Everything that a registry must hold to serve one reference.

    `blobs` are configs and layers by digest, `manifests` the manifests and the index by digest, `top` the digest that a
    tag points at. `children` are the platform manifests and `layers` the layer digests, both in order.
    """

    blobs: dict[str, bytes]
    manifests: dict[str, Stored]
    top: str
    children: tuple[str, ...]
    layers: tuple[str, ...]

    @property
    def index(self) -> Stored:
        """What the tag answers: the index, or the manifest of an image without one."""
        return self.manifests[self.top]


@dataclass(frozen=True, slots=True)
class _Types:
    index: str
    manifest: str
    config: str
    layer: str


_OCI = _Types(OCI_INDEX, OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
_DOCKER = _Types(DOCKER_LIST, DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER)


def digest_of(data: bytes) -> str:
    """The sha256 digest of `data` in the form `sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob(size: int, seed: int | str = 0) -> tuple[str, bytes]:
    """`size` random bytes chosen by `seed`, with their digest."""
    data = random.Random(f"blob {seed}").randbytes(size)
    return digest_of(data), data


def make_image(
    *layer_sizes: int,
    seed: int = 0,
    platforms: tuple[str, ...] = ("linux/amd64",),
    docker: bool = False,
    index: bool = True,
) -> FakeImage:
    """An image with layers of these sizes in bytes, each platform with layers of its own.

    With `docker` the types are docker's schema 2 ones, else OCI's. Without `index` the top is the manifest of the only
    platform; ValueError if there are several.
    """
    if not index and len(platforms) != 1:
        raise ValueError("several platforms need an index")
    types = _DOCKER if docker else _OCI
    blobs: dict[str, bytes] = {}
    manifests: dict[str, Stored] = {}
    layers: list[str] = []
    children: dict[str, str] = {}
    for platform in platforms:
        own = dict(blob(size, f"{seed} {platform} {number}") for number, size in enumerate(layer_sizes))
        layers += own
        children[platform] = _add_manifest(platform, own, types, blobs, manifests)
    top = _add_index(children, types, manifests) if index else next(iter(children.values()))
    return FakeImage(blobs, manifests, top, tuple(children.values()), tuple(layers))


def make_referrer(subject: FakeImage, artifact_type: str) -> FakeImage:
    """An OCI artifact of `artifact_type`, with one small layer, whose subject is the top of another image."""
    layer, data = blob(100, artifact_type)
    stored = subject.index
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": {"mediaType": OCI_EMPTY, "digest": digest_of(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/octet-stream", "digest": layer, "size": len(data)}],
        "subject": {"mediaType": stored.media_type, "digest": subject.top, "size": len(stored.body)},
    }
    body = _render(document)
    top = digest_of(body)
    return FakeImage({layer: data, digest_of(b"{}"): b"{}"}, {top: Stored(OCI_MANIFEST, body)}, top, (top,), (layer,))


def _add_manifest(
    platform: str, layers: dict[str, bytes], types: _Types, blobs: dict[str, bytes], manifests: dict[str, Stored]
) -> str:
    system, _, architecture = platform.partition("/")
    config = _render(
        {
            "os": system,
            "architecture": architecture,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": list(layers)},
        }
    )
    document = {
        "schemaVersion": 2,
        "mediaType": types.manifest,
        "config": {"mediaType": types.config, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": types.layer, "digest": key, "size": len(data)} for key, data in layers.items()],
    }
    body = _render(document)
    blobs |= layers
    blobs[digest_of(config)] = config
    manifests[digest_of(body)] = Stored(types.manifest, body)
    return digest_of(body)


def _add_index(children: dict[str, str], types: _Types, manifests: dict[str, Stored]) -> str:
    entries = []
    for platform, digest in children.items():
        system, _, architecture = platform.partition("/")
        stored = manifests[digest]
        entries.append(
            {
                "mediaType": stored.media_type,
                "digest": digest,
                "size": len(stored.body),
                "platform": {"os": system, "architecture": architecture},
            }
        )
    body = _render({"schemaVersion": 2, "mediaType": types.index, "manifests": entries})
    manifests[digest_of(body)] = Stored(types.index, body)
    return digest_of(body)


def _render(document: dict[str, object]) -> bytes:
    # Three spaces, as docker writes it: whoever parses and renders anew changes the digest.
    return json.dumps(document, indent=3).encode()
