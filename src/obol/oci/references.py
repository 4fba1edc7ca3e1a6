"""Digests, tags, names of repositories and registries, and image references as people write them.

The first three are strings that have been checked: `parse` is the only way in for text from outside, the plain
constructor is for text that we checked before (our own index, for one). Grammar of names and tags:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests, of digests:
https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests.

The name of a registry is a key into what is configured, never a target to dial, so it is held to the plain grammar of
an authority: a host and perhaps a port. Many spellings have one key: Docker Hub has three hosts and a hidden
`library/` prefix, and both are folded here.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from obol.oci.errors import DIGEST_INVALID, NAME_INVALID, TAG_INVALID, TARGET_INVALID, OciError

DOCKER_HUB = "docker.io"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_AUTHORITY = re.compile(
    rf"(?P<host>{_LABEL}(?:\.{_LABEL})*)\.?(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    r"|\[(?P<address>[0-9a-f:.]{2,45})\](?::(?P<port6>[1-9][0-9]{0,4}))?"
)
_MAX_HOST = 253
_MAX_AUTHORITY = 260
_DEFAULT_PORTS = frozenset({"80", "443"})
_ALIASES = {"index.docker.io": DOCKER_HUB, "registry-1.docker.io": DOCKER_HUB}
MAX_REPOSITORY = 255
"""Characters of a whole repository name: the specification warns that many clients allow no more."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_ALGORITHMS = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


def normalise_registry(text: str) -> str:
    """The one spelling of `host[:port]`: lower case, no final dot, no default port, Docker Hub's aliases folded.

    An IPv6 address is written in brackets. Raises OciError (TARGET_INVALID) for all else: a scheme, userinfo, a path,
    an escape, blanks, control characters.
    """
    # Only ASCII is lowered: some other letters become ASCII ones when lowered (the Kelvin sign a `k`).
    if len(text) > _MAX_AUTHORITY or not text.isascii():
        raise OciError(TARGET_INVALID, f"not a registry: {text}")
    match = _AUTHORITY.fullmatch(text.lower())
    if match is None:
        raise OciError(TARGET_INVALID, f"not a registry: {text}")
    host = match["host"] or _bracketed(match["address"])
    port = match["port"] or match["port6"]
    if len(host) > _MAX_HOST or (port is not None and int(port) > 65535):
        raise OciError(TARGET_INVALID, f"not a registry: {text}")
    if port is None or port in _DEFAULT_PORTS:
        return _ALIASES.get(host, host)
    return f"{host}:{port}"


def _bracketed(address: str) -> str:
    try:
        return f"[{ipaddress.IPv6Address(address).compressed}]"
    except ValueError:
        raise OciError(TARGET_INVALID, f"not an IPv6 address: {address}") from None


def canonical_repository(registry: str, repository: Repository) -> Repository:
    """On Docker Hub a name of one component belongs to `library/`.

    `registry` is normalised. Raises OciError (NAME_INVALID) for a name that is too long with the prefix.
    """
    if registry == DOCKER_HUB and "/" not in repository:
        return Repository.parse(f"library/{repository}")
    return repository


def new_hash(algorithm: str) -> hashlib._Hash:
    """A fresh hash of a digest algorithm that we know. Raises OciError (DIGEST_INVALID) for all others."""
    maker = _ALGORITHMS.get(algorithm)
    if maker is None:
        raise OciError(DIGEST_INVALID, algorithm)
    return maker()


class Digest(str):
    """The name of content by its hash: `sha256:` or `sha512:` and lower-case hexadecimal digits."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises OciError (DIGEST_INVALID)."""
        if _DIGEST.fullmatch(text) is None:
            raise OciError(DIGEST_INVALID, text)
        return cls(text)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        """The digest of `data`. Raises OciError (DIGEST_INVALID) for an algorithm that we do not know."""
        fresh = new_hash(algorithm)
        fresh.update(data)
        return cls(f"{algorithm}:{fresh.hexdigest()}")

    @property
    def algorithm(self) -> str:
        """What stands before the colon."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """What stands after the colon."""
        return self.partition(":")[2]


class Tag(str):
    """A name that an upstream may give to another manifest tomorrow."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises OciError (TAG_INVALID)."""
        if _TAG.fullmatch(text) is None:
            raise OciError(TAG_INVALID, text)
        return cls(text)


class Repository(str):
    """The name of a repository, without the registry: components of lower-case letters and digits, joined by `/`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises OciError (NAME_INVALID)."""
        if len(text) > MAX_REPOSITORY or _REPOSITORY.fullmatch(text) is None:
            raise OciError(NAME_INVALID, text)
        return cls(text)


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """A tag or, with a colon in it, a digest. Raises OciError (TAG_INVALID, DIGEST_INVALID)."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image as people name it, made explicit: `alpine` is `docker.io/library/alpine:latest`."""

    registry: str
    repository: Repository
    tag: Tag | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read `[registry/]repository[:tag][@digest]` as docker does.

        Raises OciError: TARGET_INVALID for the registry, NAME_INVALID, TAG_INVALID or DIGEST_INVALID for the rest.
        """
        name, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        registry, name = _split_registry(name)
        name, colon, tag_text = name.partition(":")
        tag = Tag.parse(tag_text) if colon else None
        if tag is None and digest is None:
            tag = Tag("latest")
        return cls(registry, canonical_repository(registry, Repository.parse(name)), tag, digest)

    def __str__(self) -> str:
        # A host of one word is only read as a host with a port, and the default port was dropped from its name.
        registry = self.registry if _names_registry(self.registry) else f"{self.registry}:443"
        tag = f":{self.tag}" if self.tag is not None else ""
        digest = f"@{self.digest}" if self.digest is not None else ""
        return f"{registry}/{self.repository}{tag}{digest}"


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and _names_registry(first):
        return normalise_registry(first), rest
    return DOCKER_HUB, name


def _names_registry(component: str) -> bool:
    """Whether a first component is a registry, rather than the beginning of a repository of Docker Hub."""
    return "." in component or ":" in component or component == "localhost"
