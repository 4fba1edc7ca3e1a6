"""Digests, tags, repository names, and image references as people write them.

The first three are strings that have been checked: `parse` is the only way in for text from outside, the plain
constructor is for text that we checked before (our own index, for one). Grammar of names and tags:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests, of digests:
https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from obol.oci.errors import DIGEST_INVALID, NAME_INVALID, TAG_INVALID, OciError
from obol.oci.registries import DOCKER_HUB, canonical_repository, normalise_registry

MAX_REPOSITORY = 255
"""Characters of a whole repository name: the specification warns that many clients allow no more."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_ALGORITHMS = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


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
