"""An honest upstream registry over plain HTTP, without tokens, that can be made slow, poor or absent while it runs."""

import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote

from tests.fakes.content import OCI_INDEX, FakeImage, Stored
from tests.fakes.link import SlowLink
from tests.fakes.server import Answer, FakeServer, Forced, Pairs, ReceivedRequest

__all__ = ["FakeRegistry", "Forced", "ReceivedRequest", "Repository", "Route", "SlowLink", "error", "kind_of", "route"]

_ROUTE = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<reference>[^/]+)")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(slots=True)
class Repository:
    """What one repository holds; a test may take things out by hand."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, Stored] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """A parsed path below /v2/; `kind` is manifests, blobs, tags or referrers."""

    repository: str
    kind: str
    reference: str


def route(path: str) -> Route | None:
    """The parts of a path, or None where it is none of a registry's."""
    found = _ROUTE.fullmatch(path)
    return Route(found["repository"], found["kind"], found["reference"]) if found else None


def kind_of(path: str) -> str:
    """`ping`, `manifest`, `blob`, `tags`, `referrers`, `token` or `other`."""
    if path in {"/v2", "/v2/"}:
        return "ping"
    if path.endswith(("/token", "/v2/auth")):
        return "token"
    found = route(path)
    return {"manifests": "manifest", "blobs": "blob"}.get(found.kind, found.kind) if found else "other"


def error(status: int, code: str, message: str, *headers: tuple[str, str]) -> Answer:
    """An error document of the distribution spec."""
    body = json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()
    return Answer(status, (("Content-Type", "application/json"), *headers), body)


class ContentServer(FakeServer):
    """A fake that serves ranges of content.

    - `accept_ranges`: ranges are honoured; else a range is ignored and the whole is sent.
    - `open_ranges`: `bytes=N-` is honoured; else it is answered with 416, as crane's registry does.
    - `advertise_ranges`: answers say `Accept-Ranges: bytes`; most big registries do not.
    - `content_length`: bodies have a length; else they are chunked.
    """

    def __init__(self, link: SlowLink | None = None) -> None:
        super().__init__(link)
        self.accept_ranges = True
        self.open_ranges = True
        self.advertise_ranges = True
        self.content_length = True

    def content(self, seen: ReceivedRequest, data: bytes, headers: Pairs) -> Answer:
        """`data`, or the range of it that was asked for."""
        chunked = not self.content_length
        if self.accept_ranges and self.advertise_ranges:
            headers = (*headers, ("Accept-Ranges", "bytes"))
        asked = _RANGE.fullmatch(seen.header("Range") or "")
        if not asked or asked.groups() == ("", "") or not self.accept_ranges:
            return Answer(200, headers, data, chunked=chunked)
        start, stop = _span(asked[1], asked[2], len(data))
        if start >= stop or (asked[2] == "" and not self.open_ranges):
            return Answer(416, (*headers, ("Content-Range", f"bytes */{len(data)}")))
        headers = (*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}"))
        return Answer(206, headers, memoryview(data)[start:stop], offset=start, chunked=chunked)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


class FakeRegistry(ContentServer):
    """Holds images by repository; see the two classes below it for the other knobs.

    - `head_supported`: HEAD is answered; else 405.
    - `digest_header`: manifests say `Docker-Content-Digest`.
    - `referrers_supported`: the referrers endpoint exists; else it is 404.
    """

    def __init__(self, link: SlowLink | None = None) -> None:
        super().__init__(link)
        self.repositories: dict[str, Repository] = {}
        self.head_supported = True
        self.digest_header = True
        self.referrers_supported = False

    def add(self, repository: str, tag: str | None, image: FakeImage) -> None:
        """Push an image; without a tag only by digest."""
        held = self.repositories.setdefault(repository, Repository())
        held.blobs |= image.blobs
        held.manifests |= image.manifests
        if tag is not None:
            held.tags[tag] = image.top

    def move(self, repository: str, tag: str, image: FakeImage) -> None:
        """Point an existing tag at another image; what it pointed at stays by digest. KeyError without such a tag."""
        if tag not in self.repositories[repository].tags:
            raise KeyError(tag)
        self.add(repository, tag, image)

    def remove_tag(self, repository: str, tag: str) -> None:
        """Forget a tag; its content stays by digest."""
        del self.repositories[repository].tags[tag]

    def remove(self, repository: str, digest: str) -> None:
        """Forget a blob or manifest of one repository."""
        held = self.repositories[repository]
        held.blobs.pop(digest, None)
        held.manifests.pop(digest, None)

    async def answer(self, seen: ReceivedRequest) -> Answer:
        if seen.method not in {"GET", "HEAD"} or (seen.method == "HEAD" and not self.head_supported):
            return error(405, "UNSUPPORTED", "method not allowed", ("Allow", "GET"))
        if kind_of(seen.path) == "ping":
            return Answer(200, (("Content-Type", "application/json"),), b"{}")
        return self._content_of(seen, route(seen.path))

    def _content_of(self, seen: ReceivedRequest, where: Route | None) -> Answer:
        held = self.repositories.get(where.repository) if where else None
        if not where or held is None:
            return error(404, "NAME_UNKNOWN", "repository name not known to registry")
        match where.kind:
            case "manifests":
                return self.manifest(seen, held, where.reference)
            case "blobs":
                return self.blob(seen, held, where.reference)
            case "tags":
                return self._tags(seen, held, where.repository)
            case _:
                return self._referrers(seen, held, where.reference)

    def manifest(self, seen: ReceivedRequest, held: Repository, reference: str) -> Answer:
        digest = held.tags.get(reference, reference)
        stored = held.manifests.get(digest)
        if stored is None:
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        headers: Pairs = (("Content-Type", stored.media_type),)
        if self.digest_header:
            headers = (*headers, ("Docker-Content-Digest", digest), ("ETag", f'"{digest}"'))
        return Answer(200, headers, stored.body, chunked=not self.content_length)

    def blob(self, seen: ReceivedRequest, held: Repository, digest: str) -> Answer:
        data = held.blobs.get(digest)
        if data is None:
            return error(404, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = (("Content-Type", "application/octet-stream"), ("Docker-Content-Digest", digest))
        return self.content(seen, data, headers)

    def _tags(self, seen: ReceivedRequest, held: Repository, repository: str) -> Answer:
        query = parse_qs(seen.query)
        last = query.get("last", [""])[0]
        names = sorted(tag for tag in held.tags if tag > last)
        headers: Pairs = (("Content-Type", "application/json"),)
        if "n" in query and (limit := int(query["n"][0])) < len(names):
            names = names[:limit]
            if names:
                following = f"/v2/{repository}/tags/list?last={quote(names[-1])}&n={limit}"
                headers = (*headers, ("Link", f'<{following}>; rel="next"'))
        return Answer(200, headers, json.dumps({"name": repository, "tags": names}).encode())

    def _referrers(self, seen: ReceivedRequest, held: Repository, subject: str) -> Answer:
        if not self.referrers_supported:
            return error(404, "UNSUPPORTED", "404 page not found")
        wanted = parse_qs(seen.query).get("artifactType", [])
        entries = [entry for entry in _pointing_at(subject, held) if not wanted or entry["artifactType"] in wanted]
        headers: Pairs = (("Content-Type", OCI_INDEX),)
        if wanted:
            headers = (*headers, ("OCI-Filters-Applied", "artifactType"))
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return Answer(200, headers, json.dumps(document).encode())


def _pointing_at(subject: str, held: Repository) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for digest, stored in held.manifests.items():
        document = json.loads(stored.body)
        if document.get("subject", {}).get("digest") == subject:
            found.append(
                {
                    "mediaType": stored.media_type,
                    "digest": digest,
                    "size": len(stored.body),
                    "artifactType": document.get("artifactType", document["config"]["mediaType"]),
                    "annotations": document.get("annotations", {}),
                }
            )
    return found
