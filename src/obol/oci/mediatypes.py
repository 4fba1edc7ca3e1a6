"""Media types of manifests, and what clients accept of them.

Several Accept lines mean the same as one line joined by commas: docker and podman send six lines, containerd one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
SCHEMA1: frozenset[str] = frozenset({DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED})
"""Kinds that docker still lists and no registry has any more: passed on to those only who list them."""
OCTET_STREAM = "application/octet-stream"

_SERVED = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
MANIFEST_TYPES: frozenset[str] = frozenset(_SERVED)
"""The manifests that we serve; schema 1 is not among them."""

MAX_ACCEPT = 2048
"""Characters of an Accept line to an upstream; many servers refuse header lines above 4 KiB or 8 KiB."""

_SHORT = {
    OCI_INDEX: "oci-index",
    OCI_MANIFEST: "oci-manifest",
    DOCKER_LIST: "docker-list",
    DOCKER_MANIFEST: "docker-manifest",
}
_ANYTHING = frozenset({"*/*", "application/*"})
_NO_KIND = frozenset({"application/json", OCTET_STREAM, "application/xml", "application/xhtml+xml"})
"""Application types that name no kind of document."""
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_RANGE = re.compile(rf"{_WORD}/{_WORD}(?:[ \t]*;[ \t]*{_WORD}={_WORD})*")
_ZERO_WEIGHT = re.compile(r";[ \t]*q[ \t]*=[ \t]*0(?:\.0*)?[ \t]*(?:;|$)", re.IGNORECASE)


def is_index(media_type: str) -> bool:
    """Whether a manifest of this type refers to manifests."""
    return media_type in {OCI_INDEX, DOCKER_LIST}


def is_distributable(media_type: str) -> bool:
    """Whether registries have content of this type; the base layers of Windows are had from Microsoft only."""
    return "foreign" not in media_type and "nondistributable" not in media_type


def bare(content_type: str) -> str:
    """The media type alone: lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def listed(accept: str) -> frozenset[str]:
    """The types that an Accept line names."""
    return frozenset(bare(element) for element in _elements((accept,)))


def accepted(values: Sequence[str]) -> frozenset[str] | None:
    """Which kinds of document the Accept lines list; None for anything: no Accept, `*/*` or `application/*`.

    These are MANIFEST_TYPES and other application types, which artifacts may have. A weight of zero excludes a type;
    other weights are not looked at. Who lists none of them is content with MANIFEST_TYPES.
    """
    wanted: set[str] = set()
    excluded: set[str] = set()
    for element in _elements(values):
        (excluded if _ZERO_WEIGHT.search(element) else wanted).add(bare(element))
    if (not wanted and not excluded) or not wanted.isdisjoint(_ANYTHING):
        unwanted = MANIFEST_TYPES & excluded
        return MANIFEST_TYPES - unwanted if unwanted else None
    kinds = {name for name in wanted if name in MANIFEST_TYPES or _may_be_a_kind(name)}
    return frozenset(kinds - excluded)


def _may_be_a_kind(name: str) -> bool:
    return name.startswith("application/") and name not in _NO_KIND and _RANGE.fullmatch(name) is not None


def accept_class(accept: frozenset[str] | None) -> str:
    """A short name for what is accepted, to tell apart what an upstream answered: "" for all four or anything.

    Other kinds count only where a client lists none of the four.
    """
    if accept is None or accept >= MANIFEST_TYPES:
        return ""
    known = accept & MANIFEST_TYPES
    if known:
        return ",".join(sorted(_SHORT[media_type] for media_type in known))
    return min(accept, default="")


def upstream_accept(values: Sequence[str]) -> str:
    """One Accept line for an upstream: what the client listed, in its order, then the rest of what we serve.

    Some registries answer 404 for an index to those who do not accept it, so the full set is always there.
    """
    room = MAX_ACCEPT - sum(len(media_type) + 2 for media_type in _SERVED)
    chosen: dict[str, str] = {}
    for element in _elements(values):
        name = bare(element)
        if name in chosen or _RANGE.fullmatch(element) is None or _ZERO_WEIGHT.search(element):
            continue
        room -= len(element) - len(name) if name in MANIFEST_TYPES else len(element) + 2
        if room >= 0:
            chosen[name] = element
    for media_type in _SERVED:
        chosen.setdefault(media_type, media_type)
    return ", ".join(chosen.values())


def _elements(values: Sequence[str]) -> Iterator[str]:
    return (element for line in values for part in line.split(",") if (element := part.strip(" \t")))
