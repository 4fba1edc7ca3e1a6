"""A registry like Docker Hub: an API that wants tokens and counts pulls, a token server, and a CDN with signed URLs."""

import hashlib
import hmac
from contextlib import AsyncExitStack
from typing import Self

from tests.fakes.content import FakeImage
from tests.fakes.link import SlowLink
from tests.fakes.registry import ContentServer, FakeRegistry, Repository, error, kind_of, route
from tests.fakes.server import Answer, FakeServer, ReceivedRequest
from tests.fakes.tokens import TokenOffice, asked_scopes, bearer, covers, pull_scope, repository_of

SERVICE = "registry.docker.io"
LIMIT_MESSAGE = "You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit"
_SECRET = b"signing key of the fake CDN"
_SIGNATURE = "&X-Amz-Signature="
# Every spelling here is one that a URL library likes to change: %2F and %7E to the bare character, + to %20.
_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=key%2F20260102%2Fauto%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260102T030405Z&X-Amz-Expires=1200&response-content-disposition=a+file%7Ename%3D~b"
    "&X-Amz-SignedHeaders=host"
)


class AuthServer(FakeServer):
    """`/token`: a token for those of the asked scopes whose repository exists, as Hub does; others are left out."""

    def __init__(self, office: TokenOffice, repositories: dict[str, Repository]) -> None:
        super().__init__()
        self._office = office
        self._repositories = repositories

    async def answer(self, seen: ReceivedRequest) -> Answer:
        if seen.path != "/token":
            return error(404, "NOT_FOUND", "no such page")
        return self._office.issue(
            frozenset(scope for scope in asked_scopes(seen) if repository_of(scope) in self._repositories)
        )


class CdnServer(ContentServer):
    """Serves blobs by signed URL only.

    - `uses`: how many requests one URL is good for; None: any number.
    - `hops`: how many redirects to freshly signed URLs of its own come before the content.
    - `padding`: bytes of filler in each URL.
    - `refuses_ranges`: the status that a Range request gets; None: its range.
    """

    def __init__(self, link: SlowLink | None = None) -> None:
        super().__init__(link)
        self.gate_on = "/data?"
        self.uses: int | None = None
        self.hops = 0
        self.padding = 0
        self.refuses_ranges: int | None = None
        self._content: dict[str, bytes] = {}
        self._used: dict[str, int] = {}
        self._serial = 0
        self._oldest_good = 0

    def sign(self, digest: str, data: bytes, hops: int | None = None) -> str:
        self._serial += 1
        algorithm, _, encoded = digest.partition(":")
        path = f"/registry-v2/docker/registry/v2/blobs/{algorithm}/{encoded[:2]}/{encoded}/data"
        self._content[path] = data
        left = self.hops if hops is None else hops
        target = f"{path}?{_QUERY}&pad={'x' * self.padding}&hops={left}&serial={self._serial}"
        return self.url + target + _SIGNATURE + _signature(target)

    def expire_all(self) -> None:
        """Make every URL that was signed so far invalid."""
        self._oldest_good = self._serial + 1

    async def answer(self, seen: ReceivedRequest) -> Answer:
        """Content, where the URL is byte for byte the signed one."""
        if self.refuses_ranges is not None and seen.header("Range") is not None:
            return Answer(self.refuses_ranges, (), b"no ranges")
        if seen.header("Authorization") is not None:
            return _refuse(400, "InvalidArgument", "Only one auth mechanism allowed")
        signed, _, signature = seen.target.partition(_SIGNATURE)
        if not hmac.compare_digest(signature.encode(), _signature(signed).encode()):
            return _refuse(403, "SignatureDoesNotMatch", "The signature we calculated does not match")
        serial = int(signed.rpartition("=")[2])
        self._used[signed] = self._used.get(signed, 0) + 1
        if serial < self._oldest_good or (self.uses is not None and self._used[signed] > self.uses):
            return _refuse(403, "AccessDenied", "Request has expired")
        data = self._content[seen.path]
        hops = int(signed.rpartition("&hops=")[2].partition("&")[0])
        if hops:
            digest = "sha256:" + seen.path.split("/")[-2]
            return Answer(307, (("Location", self.sign(digest, data, hops - 1)),))
        return self.content(seen, data, (("Content-Type", "application/octet-stream"),))


class ApiServer(FakeRegistry):
    """The `registry-1` part of the Hub: tokens, pull counting, blobs by redirect.

    - `limit`, `remaining`, `window`: the pull quota; a GET of a manifest that exists uses one, a HEAD none.
    - `rate_headers`: manifest answers say so.
    - `retry_after`: seconds that a 429 names; None: none, as Hub mostly does.
    - `realm`: where the challenge sends clients.
    """

    def __init__(self, cdn: CdnServer, link: SlowLink | None = None) -> None:
        super().__init__(link)
        self.office = TokenOffice()
        self.realm = ""
        self.limit = self.remaining = 100
        self.window = 21600
        self.rate_headers = True
        self.retry_after: int | None = None
        self._cdn = cdn

    async def answer(self, seen: ReceivedRequest) -> Answer:
        """Check the token, then serve."""
        scopes = self.office.scopes_of(seen)
        where = route(seen.path)
        scope = pull_scope(where.repository) if where else ""
        if scopes is None:
            problem = "invalid_token" if seen.header("Authorization") else ""
            return self._challenge(scope, problem)
        if where and not covers(scopes, where.repository):
            return self._challenge(scope, "insufficient_scope")
        answer = await super().answer(seen)
        return self._counted(seen, answer) if kind_of(seen.path) == "manifest" else answer

    def blob(self, seen: ReceivedRequest, held: Repository, digest: str) -> Answer:
        honest = super().blob(seen, held, digest)
        if honest.status == 404:
            return honest
        return Answer(307, (("Location", self._cdn.sign(digest, held.blobs[digest])),))

    def _challenge(self, scope: str, problem: str) -> Answer:
        return error(401, "UNAUTHORIZED", "authentication required", bearer(self.realm, SERVICE, scope, problem))

    def _counted(self, seen: ReceivedRequest, answer: Answer) -> Answer:
        if seen.method == "GET" and answer.status == 200:
            if self.remaining <= 0:
                waits = () if self.retry_after is None else (("Retry-After", str(self.retry_after)),)
                return error(429, "TOOMANYREQUESTS", LIMIT_MESSAGE, *self._quota(), *waits)
            self.remaining -= 1
        return Answer(answer.status, answer.headers + self._quota(), answer.body, chunked=answer.chunked)

    def _quota(self) -> tuple[tuple[str, str], ...]:
        if not self.rate_headers:
            return ()
        window = f";w={self.window}"
        return ("ratelimit-limit", f"{self.limit}{window}"), ("ratelimit-remaining", f"{self.remaining}{window}")


class FakeHub:
    """The three servers together: `api`, `auth` and `cdn`, each with its log and knobs; `office` holds the tokens."""

    def __init__(self, link: SlowLink | None = None) -> None:
        self.cdn = CdnServer(link)
        self.api = ApiServer(self.cdn, link)
        self.office = self.api.office
        self.auth = AuthServer(self.office, self.api.repositories)
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for server in (self.api, self.auth, self.cdn):
            await self._running.enter_async_context(server)
        self.api.realm = self.auth.url + "/token"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._running.aclose()

    @property
    def url(self) -> str:
        return self.api.url

    @property
    def log(self) -> list[ReceivedRequest]:
        """The requests to all three servers in the order of their time."""
        return sorted([*self.api.log, *self.auth.log, *self.cdn.log], key=lambda seen: seen.at)

    def add(self, repository: str, tag: str | None, image: FakeImage) -> None:
        self.api.add(repository, tag, image)

    async def down(self) -> None:
        for server in (self.api, self.auth, self.cdn):
            await server.down()

    async def up(self) -> None:
        """Bring them back on the same ports."""
        for server in (self.api, self.auth, self.cdn):
            await server.up()


def _signature(target: str) -> str:
    return hmac.new(_SECRET, target.encode("latin-1"), hashlib.sha256).hexdigest()


def _refuse(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, (("Content-Type", "application/xml"),), body.encode())
