"""What a client asks for, read from the method and the raw request target.

The path is matched once, as it came over the wire: a decoded path has more than one spelling for everything, and each
of them is a way around a check. It is read from the right, since a repository may have components named `manifests`,
`blobs` or `tags`. Paths: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from obol.oci.errors import (
    NAME_INVALID,
    NOT_FOUND,
    PAGINATION_NUMBER_INVALID,
    TARGET_INVALID,
    UNSUPPORTED,
    OciError,
)
from obol.oci.references import Digest, Reference, Repository, Tag, parse_reference
from obol.oci.registries import normalise_registry

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
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


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
    """The tags of a repository: at most `n` (None: as many as there are), those after `last`."""

    repository: Repository
    n: int | None
    last: str | None


@dataclass(frozen=True, slots=True)
class ReferrersRequest:
    """The manifests whose subject is `digest`, perhaps only those of one artifact type."""

    repository: Repository
    digest: Digest
    artifact_type: str | None


Resource = Ping | ManifestRequest | BlobRequest | TagsRequest | ReferrersRequest


@dataclass(frozen=True, slots=True)
class Request:
    """A request for a resource. `ns` is the normalised registry that the client meant, if it said so."""

    resource: Resource
    ns: str | None
    head: bool


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
    query = _query(query_text)
    ns = query.get("ns")
    return Request(_refined(resource, query), normalise_registry(ns) if ns is not None else None, method == "HEAD")


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
        return ReferrersRequest(repository, Digest.parse(reference), None)
    return TagsRequest(repository, None, None)


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


def _query(text: str) -> dict[str, str]:
    """The parameters that mean something to us, each at most once, decoded."""
    if _BAD_ESCAPE.search(text):
        raise OciError(TARGET_INVALID, "a bad escape in the query")
    query: dict[str, str] = {}
    for pair in text.split("&"):
        name, _, value = pair.partition("=")
        if "%" in pair:
            # A `+` stays one: no value that we know holds a blank, and artifact types do hold a plus sign.
            name, value = unquote(name), unquote(value)
        if name not in {"ns", "n", "last", "artifactType"}:
            continue
        if name in query:
            raise OciError(TARGET_INVALID, f"{name} is there twice")
        query[name] = value
    return query


def _refined(resource: Resource, query: dict[str, str]) -> Resource:
    """The resource with the parameters that belong to it; those of other resources are passed over."""
    match resource:
        case TagsRequest(repository):
            return TagsRequest(repository, _number(query.get("n")), _last(query.get("last")))
        case ReferrersRequest(repository, digest):
            return ReferrersRequest(repository, digest, _artifact_type(query.get("artifactType")))
        case _:
            return resource


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise OciError(PAGINATION_NUMBER_INVALID, text)
    digits = match["digits"]
    return MAX_PAGE if len(digits) > len(str(MAX_PAGE)) else min(int(digits), MAX_PAGE)


def _last(text: str | None) -> str | None:
    return Tag.parse(text) if text else None


def _artifact_type(text: str | None) -> str | None:
    if not text:
        return None
    if _MEDIA_TYPE.fullmatch(text) is None:
        raise OciError(TARGET_INVALID, "the artifact type is not a media type")
    return text
