"""What a client asks for, read from the method and the raw request target.

The path is matched once, as it came over the wire: a decoded path has more than one spelling for everything, and each
of them is a way around a check. It is read from the right, since a repository may have components named `manifests`,
`blobs` or `tags`. Paths: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from obol.oci.errors import (
    NAME_INVALID,
    NOT_FOUND,
    PAGINATION_NUMBER_INVALID,
    TARGET_INVALID,
    UNSUPPORTED,
    OciError,
)
from obol.oci.references import Digest, Reference, Repository, normalise_registry, parse_reference

REMEMBERED = 256
"""Requests: a target never comes to mean something else, and clients ask for the same ones again and again."""
MAX_TARGET = 4096
"""Characters of a request target: a name of 255, a digest and a generous query fit many times."""

MAX_PAGE = 10_000
"""Tags of one page; who asks for more gets this many."""

# The first group is greedy, so what follows it is as far to the right as it can be. It may be empty: an empty name
# is then refused as a name. Upload paths come last: only what is nothing else is one.
_PATH = re.compile(
    r"/v2/(?P<name>.*)/"
    r"(?:(?P<kind>manifests|blobs|referrers)/(?P<reference>[^/]+)|(?P<tags>tags/list))"
)
_UPLOAD = re.compile(r"/v2/(?P<name>.*)/blobs/uploads(?:/[^/]*)?")
_ESCAPED_DIGEST = re.compile(r"(?P<before>.*/sha(?:256|512))%3[Aa](?P<hex>[0-9a-f]+)")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NUMBER = re.compile(r"0*(?P<digits>[0-9]+)")


@dataclass(frozen=True, slots=True)
class Ping:
    """Is this a registry?"""


@dataclass(frozen=True, slots=True)
class ManifestRequest:
    """A manifest by tag or digest."""

    repository: Repository
    reference: Reference


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """A blob."""

    repository: Repository
    digest: Digest


@dataclass(frozen=True, slots=True)
class TagsRequest:
    """The tags of a repository. `query` is passed on as it came, without `ns`: pages are the registry's business."""

    repository: Repository
    query: str = ""


@dataclass(frozen=True, slots=True)
class ReferrersRequest:
    """The manifests whose subject is `digest`; `query` as for tags, perhaps with an artifact type."""

    repository: Repository
    digest: Digest
    query: str = ""


Resource = Ping | ManifestRequest | BlobRequest | TagsRequest | ReferrersRequest


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a resource. `ns` is the normalised registry that the client meant, if it said so."""

    resource: Resource
    ns: str | None
    head: bool


@lru_cache(maxsize=REMEMBERED)
def parse(method: str, target: str) -> Request:
    """Read a request from its method and its target (path and query, as sent).

    Raises OciError with the kind that the client is to be told: NOT_FOUND, UNSUPPORTED, TARGET_INVALID, NAME_INVALID,
    TAG_INVALID, DIGEST_INVALID or PAGINATION_NUMBER_INVALID.
    """
    if not target.startswith("/") or len(target) > MAX_TARGET:
        raise OciError(TARGET_INVALID, "not a path, or too long")
    if not (target.isascii() and target.isprintable()) or " " in target or "#" in target:
        raise OciError(TARGET_INVALID, "characters that a request target cannot have")
    path, _, query_text = target.partition("?")
    resource = _resource(path)
    if method not in {"GET", "HEAD"}:
        raise OciError(UNSUPPORTED, method)
    if not query_text:
        return Request(resource, None, method == "HEAD")
    ns = _ns(query_text)
    return Request(_refined(resource, query_text), normalise_registry(ns) if ns is not None else None, method == "HEAD")


def _resource(path: str) -> Resource:
    """The resource of a path, without what the query adds."""
    if "%" in path:
        path = _unescaped(path)
    match = _PATH.fullmatch(path)
    if match is None:
        return _other(path)
    name, kind, reference, _ = match.groups()
    repository = Repository.parse(name)
    if kind == "manifests":
        return ManifestRequest(repository, parse_reference(reference))
    if kind == "blobs":
        if reference == "uploads":
            raise OciError(UNSUPPORTED, "nothing can be pushed here")
        return BlobRequest(repository, Digest.parse(reference))
    if kind == "referrers":
        return ReferrersRequest(repository, Digest.parse(reference))
    return TagsRequest(repository)


def _other(path: str) -> Resource:
    """The rare paths: the ping, and those that are refused."""
    if path in {"/v2/", "/v2"}:
        return Ping()
    upload = _UPLOAD.fullmatch(path)
    if upload is None:
        raise OciError(NOT_FOUND, path)
    Repository.parse(upload["name"])
    raise OciError(UNSUPPORTED, "nothing can be pushed here")


def _unescaped(path: str) -> str:
    """Some clients escape the colon of a digest; nothing else that we serve has a reason to be escaped."""
    match = _ESCAPED_DIGEST.fullmatch(path)
    if match is not None:
        path = f"{match['before']}:{match['hex']}"
    if "%" in path:
        raise OciError(NAME_INVALID, "an escape in the path")
    return path


def _ns(query: str) -> str | None:
    """The registry that the query names, decoded; it is said once or not at all."""
    if _BAD_ESCAPE.search(query):
        raise OciError(TARGET_INVALID, "a bad escape in the query")
    found: str | None = None
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if (unquote(name) if "%" in name else name) != "ns":
            continue
        if found is not None:
            raise OciError(TARGET_INVALID, "ns is there twice")
        found = unquote(value) if "%" in value else value
    return found


def without_ns(query: str) -> str:
    """A query as it stands, but for the registry that is meant: that is between us and our client."""
    return "&".join(pair for pair in query.split("&") if unquote(pair.partition("=")[0]) != "ns")


def _refined(resource: Resource, query: str) -> Resource:
    """The resource with the query, where that belongs to it."""
    match resource:
        case TagsRequest(repository):
            return TagsRequest(repository, _numbered(without_ns(query)))
        case ReferrersRequest(repository, digest):
            return ReferrersRequest(repository, digest, without_ns(query))
        case _:
            return resource


def _numbered(query: str) -> str:
    """The query of a list, whose `n` is a number; one that is too large is made smaller."""
    pairs = query.split("&")
    for at, pair in enumerate(pairs):
        name, _, value = pair.partition("=")
        if name != "n":
            continue
        match = _NUMBER.fullmatch(value)
        if match is None:
            raise OciError(PAGINATION_NUMBER_INVALID, value)
        digits = match["digits"]
        if len(digits) > len(str(MAX_PAGE)) or int(digits) > MAX_PAGE:
            pairs[at] = f"n={MAX_PAGE}"
    return "&".join(pairs)
