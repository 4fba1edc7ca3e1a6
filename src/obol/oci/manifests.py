"""What a manifest is and refers to, read out of its bytes; and which image of an index is for a platform.

Nothing is ever written back: manifests are kept and served byte for byte, and unknown fields are none of our business.
Read strictly where two readers could differ: a document that is an index to one and an image to another is refused
(CVE-2021-41190). Formats: https://github.com/opencontainers/image-spec, and docker's version 2 schema 2, which is the
same in all that is read here. Artifacts that have a media type of their own are opaque: they are passed on, unread.

An index may hold images for many platforms, attestations about them (platform `unknown/unknown`), and other indexes.
Variants are matched as containerd does: one that a processor can run stands in for a better one that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from obol.oci.errors import MANIFEST_INVALID, OciError
from obol.oci.mediatypes import (
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    OCTET_STREAM,
    SCHEMA1,
    bare,
    is_index,
)
from obol.oci.references import Digest

MAX_MANIFEST = 8 * 1024 * 1024
"""Bytes. Clients stop at 4 MiB, and registries must take as much. What a manifest names is bounded by this alone."""

SPARSE = 10
"""Bytes that a part of a document takes at least, on average: a descriptor has ninety. Its object takes fifty."""

STEP = 250
"""Descriptors that are read in one go: some milliseconds."""

VAGUE = frozenset({"", "text/plain", "application/json"})
"""Content types that some registries give to every document: the document itself has to say what it is."""
_NO_DOCUMENT = frozenset({OCTET_STREAM, "application/xhtml+xml", "application/xml", "application/problem+json"})
"""Types of blobs, pages and errors."""
_VARIANT = re.compile(r"v(?P<number>[0-9]{1,3})")
_USUAL_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image of an index runs on."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, gc=False):
    """A reference to content. `size` is in bytes; `media_type` is empty where the document left it out.

    The collector does not look at descriptors: a manifest may have tens of thousands, and they are in no cycle.
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None

    @property
    def is_attestation(self) -> bool:
        """Whether this child of an index is about an image (provenance, a bill of materials) rather than one."""
        return self.platform is not None and self.platform.os == "unknown"


@dataclass(frozen=True, slots=True)
class Manifest:
    """An index (`manifests`) or an image manifest (`blobs`: the config, then the layers)."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str

    @property
    def is_index(self) -> bool:
        """Whether it refers to manifests."""
        return is_index(self.media_type)


# The documents as they are written. Go programs write null for an empty list or map, so null means absent throughout.


class _Platform(msgspec.Struct, frozen=True):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None


class RawDescriptor(msgspec.Struct, frozen=True, rename="camel"):
    """A descriptor as it is written."""

    digest: str
    size: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    media_type: str | None = None
    platform: _Platform | None = None


class RawDocument(msgspec.Struct, frozen=True, rename="camel"):
    """A manifest as it is written; what is left out of it is unset, None or the value that it stands for."""

    schema_version: int = 2
    media_type: str | None = None
    artifact_type: str | None = None
    manifests: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET
    config: RawDescriptor | None = None
    layers: list[msgspec.Raw] | None = None
    fs_layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    subject: RawDescriptor | None = None


_decode = msgspec.json.Decoder(RawDocument).decode
_decode_descriptor = msgspec.json.Decoder(RawDescriptor).decode


def parse_manifest(body: bytes, content_type: str) -> Manifest:
    """Read a manifest that came with this Content-Type, with or without parameters.

    Raises OciError (MANIFEST_INVALID) for what is no manifest, is not what the Content-Type says, could be read as
    two things, or is of a kind that is not read (schema 1, artifacts of other kinds: see `is_opaque`).
    """
    steps = reading(body, content_type)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            manifest: Manifest = stop.value
            return manifest


def reading(body: bytes, content_type: str) -> Generator[None, None, Manifest]:
    """As `parse_manifest`, in steps of a few milliseconds: manifests may name some 50,000 objects."""
    declared = _declared(content_type)
    document = _document(body)
    media_type = _checked(document, declared)
    manifests = yield from _descriptors(document.manifests)
    layers = yield from _descriptors(document.layers)
    config = [] if document.config is None else [_descriptor(document.config)]
    return Manifest(
        media_type=media_type,
        manifests=tuple(manifests),
        blobs=(*config, *layers),
        subject=_descriptor(document.subject) if document.subject is not None else None,
        artifact_type=document.artifact_type or "",
    )


def _declared(content_type: str) -> str:
    declared = bare(content_type)
    if declared not in MANIFEST_TYPES | VAGUE:
        why = "schema 1 is not supported" if declared in SCHEMA1 else f"not a manifest: {declared}"
        raise OciError(MANIFEST_INVALID, why)
    return declared


def type_of(document: RawDocument, content_type: str) -> str:
    """The media type of a document that came with this Content-Type. Raises OciError as `parse_manifest` does."""
    return _checked(document, _declared(content_type))


def _checked(document: RawDocument, declared: str) -> str:
    _check_version(document)
    media_type = _media_type(document, declared)
    _check_shape(document, is_index=is_index(media_type))
    return media_type


def _document(body: bytes) -> RawDocument:
    if len(body) > MAX_MANIFEST:
        raise OciError(MANIFEST_INVALID, f"larger than {MAX_MANIFEST} bytes")
    if body.count(b",") > max(1000, len(body) // SPARSE):
        raise OciError(MANIFEST_INVALID, "too many parts for its length")
    try:
        document = _decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        # Deep nesting is met as RecursionError, also within fields that are passed over.
        raise OciError(MANIFEST_INVALID, str(error)) from None
    _check_version(document)
    return document


def _check_version(document: RawDocument) -> None:
    if document.schema_version != 2 or document.fs_layers is not msgspec.UNSET:
        raise OciError(MANIFEST_INVALID, "only schema version 2 is supported")


def _media_type(document: RawDocument, declared: str) -> str:
    """What the document is, by its Content-Type, its own word or, failing both, its shape."""
    own = document.media_type or ""
    if declared in MANIFEST_TYPES:
        if own not in {"", declared}:
            raise OciError(MANIFEST_INVALID, f"served as {declared}, but calls itself {own}")
        return declared
    if own:
        if own not in MANIFEST_TYPES:
            raise OciError(MANIFEST_INVALID, f"not a manifest: {own}")
        return own
    # Docker's documents must name their type; those of OCI may leave it out.
    return OCI_INDEX if document.manifests is not msgspec.UNSET else OCI_MANIFEST


def _check_shape(document: RawDocument, *, is_index: bool) -> None:
    has_image = document.config is not None or document.layers is not None
    if is_index and (document.manifests is msgspec.UNSET or has_image):
        raise OciError(MANIFEST_INVALID, "not an index: no manifests, or config or layers beside them")
    if not is_index and (document.config is None or isinstance(document.manifests, list)):
        raise OciError(MANIFEST_INVALID, "not an image manifest: no config, or manifests beside it")


def _descriptors(
    raw: list[msgspec.Raw] | msgspec.UnsetType | None,
) -> Generator[None, None, list[Descriptor]]:
    found: list[Descriptor] = []
    for one in raw if isinstance(raw, list) else ():
        try:
            found.append(_descriptor(_decode_descriptor(one)))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise OciError(MANIFEST_INVALID, str(error)) from None
        if len(found) % STEP == 0:
            yield
    return found


def _descriptor(raw: RawDescriptor) -> Descriptor:
    try:
        digest = Digest.parse(raw.digest)
    except OciError as error:
        raise OciError(MANIFEST_INVALID, f"a descriptor's digest: {error.detail}") from None
    platform = None
    if raw.platform is not None:
        platform = Platform(raw.platform.os or "", raw.platform.architecture or "", raw.platform.variant or "")
    return Descriptor(raw.media_type or "", digest, raw.size, platform)


def is_opaque(content_type: str) -> bool:
    """Whether a Content-Type names a kind of document that is passed on as it is, whatever it holds.

    That is any application type but those that say nothing of the document, and those that we read.
    """
    declared = bare(content_type)
    return declared.startswith("application/") and declared not in MANIFEST_TYPES | VAGUE | _NO_DOCUMENT


def opaque(content_type: str) -> Manifest:
    """A manifest of which only the kind is known; it names nothing that a client may read."""
    return Manifest(bare(content_type), (), (), None, "")


class _Outline(msgspec.Struct, frozen=True, rename="camel"):
    """A document with its parts passed over: that they are JSON is seen, and nothing is made of them."""

    schema_version: int = 2
    media_type: str | None = None
    manifests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    fs_layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_PLACEHOLDER = RawDescriptor("", 0)
_outline = msgspec.json.Decoder(_Outline).decode


def stored_type(body: bytes, said: str) -> str:
    """The type of a document that was said to be of type `said`, from its outline: a hundredth of the work.

    For bytes that were named by their digest in something that calls them a manifest. Raises OciError
    (MANIFEST_INVALID) for what is no manifest, or another kind of one.
    """
    return type_of(_in_outline(body), said)


def _in_outline(body: bytes) -> RawDocument:
    """The document with placeholders for what it names."""
    try:
        outline = _outline(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise OciError(MANIFEST_INVALID, str(error)) from None
    return RawDocument(
        schema_version=outline.schema_version,
        media_type=outline.media_type,
        manifests=msgspec.UNSET
        if outline.manifests is msgspec.UNSET
        else ([] if _is(b"[", outline.manifests) else None),
        config=_PLACEHOLDER if _is(b"{", outline.config) else None,
        layers=[] if _is(b"[", outline.layers) else None,
        fs_layers=outline.fs_layers,
    )


def _is(opening: bytes, raw: msgspec.Raw | msgspec.UnsetType) -> bool:
    """Whether a value is of the kind that opens so; not where it is null or left out. Others are refused."""
    text = b"null" if raw is msgspec.UNSET else bytes(raw)
    if text[:1] == opening:
        return True
    if text != b"null":
        raise OciError(MANIFEST_INVALID, "a part of it is not what it should be")
    return False


def choose(children: Sequence[Descriptor], wanted: Platform) -> Descriptor | None:
    """The child for a platform, or None. A child that does not say its platform is taken if it is the only one."""
    images = [child for child in children if not child.is_attestation]
    ranked = [(rank, child) for child in images if (rank := _rank(child.platform, wanted)) is not None]
    if ranked:
        return min(ranked, key=lambda entry: entry[0])[1]
    return images[0] if len(images) == 1 and images[0].platform is None else None


def _rank(offered: Platform | None, wanted: Platform) -> int | None:
    """How far an offer is from what is wanted, 0 for exactly that; None where it does not run there."""
    if offered is None or (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    have, want = _variant(offered), _variant(wanted)
    if have == want:
        return 0
    had, needed = _VARIANT.fullmatch(have), _VARIANT.fullmatch(want)
    if had is None or needed is None:
        return None
    distance = int(needed["number"]) - int(had["number"])
    return distance if distance > 0 else None


def _variant(of: Platform) -> str:
    return of.variant or _USUAL_VARIANTS.get(of.architecture, "")
