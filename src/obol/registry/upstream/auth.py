"""Anonymous tokens: drives the pure flow of `oci.tokens` over HTTP and remembers what it learnt.

After the first challenge an upstream's realm and service are known, so the next repository gets its token without
another 401. A token is got once for all that want the same, and kept until shortly before its end. It belongs to the
host that asked for it: two registries that name the same token service get two tokens, and a registry that redirects
to another one speaks for itself only. What a token is got with is never less protected than what it is for: a host
that is reached by https does not send us to http.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obol.machine.bounded import Bounded
from obol.machine.flights import Flights
from obol.oci.errors import OciError
from obol.oci.tokens import AccessDenied as Refusal
from obol.oci.tokens import (
    Answer,
    Bearer,
    FetchToken,
    Reply,
    SendPing,
    SendResource,
    Step,
    Token,
    TokenRefused,
    negotiate,
    parse_token,
    token_url,
)
from obol.registry.policy.statuses import Meaning, Question, meaning
from obol.registry.upstream.ports import Denied, Misbehaved, Unavailable
from obol.registry.upstream.reading import NEEDS_CREDENTIALS, drain, is_page, judge, read_bounded

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.oci.references import Repository
    from obol.registry.upstream.transport import Arrived, Transport

ABSENCE_BELIEVED = 10.0
"""Seconds for which a 404 is taken for absence after a token was renewed because of one."""
MAX_AUTHORITIES = 3
"""Registries that one question may be sent on to."""
MAX_REMEMBERED = 100
MAX_TOKEN_BODY = 128 * 1024
MAX_TOKENS = 1000
SPENT_EARLY = 5.0
"""Seconds before its end from which a token is not used any more."""
IN_CLEAR = (
    "the upstream is reached by https, but names an http address to get a token from, which would pass in clear: it is"
    " not asked. If the network between is to be trusted, name the upstream itself with http:// (--upstream)"
)

_Key = tuple[str, FetchToken]
"""Whom a token is for, and how it is got."""

_PATH = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/(?:manifests|blobs|referrers|tags)/")


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    url: str
    headers: Mapping[str, str]


@dataclass
class _Authority:
    """One registry, and what it last asked for a token with."""

    site: str
    base: str
    challenge: FetchToken | None = None
    scope_is_ours: bool = True

    def remembered(self, scope: str) -> FetchToken | None:
        if self.challenge is None or not self.scope_is_ours:
            return self.challenge
        return replace(self.challenge, scope=scope)

    def learn(self, used: FetchToken, scope: str) -> None:
        self.challenge = replace(used, fresh=False)
        self.scope_is_ours = used.scope == scope


class Authenticator:
    """Sends requests to one registry, and to those that it redirects to, with the anonymous token that each needs."""

    def __init__(self, transport: Transport, base: str, clock: Clock, within: float) -> None:
        self._transport = transport
        self._tokens = Tokens(transport, clock, within)
        self._own = _Authority(_site(base), base)
        self._others: Bounded[str, _Authority] = Bounded(MAX_REMEMBERED)

    async def send(self, method: str, url: str, headers: Mapping[str, str], repository: Repository) -> Arrived:
        """Send a request about `repository`. Raises Denied and what the transport raises.

        The answer may have any status; one of 401 or 403 is then of a host that was redirected to and wants no token.
        """
        authority = self._own
        arrived = await self._authorised(_Question(method, url, headers), authority, repository, None)
        for _ in range(MAX_AUTHORITIES):
            challenges = tuple(arrived.response.headers.getall("WWW-Authenticate", ()))
            if not arrived.moved or arrived.response.status != 401 or not challenges:
                break
            # Another registry: it is asked with a token of its own, and with none that another registry gave.
            await drain(arrived.response)
            authority = self._authority(arrived.url)
            told = Answer(arrived.response.status, challenges)
            arrived = await self._authorised(_Question(method, arrived.url, headers), authority, repository, told)
        return arrived

    def _authority(self, url: str) -> _Authority:
        site = _site(url)
        if site == self._own.site:
            return self._own
        found = self._others.get(site)
        if found is None:
            found = self._others[site] = _Authority(site, site)
        return found

    async def _authorised(
        self, question: _Question, authority: _Authority, repository: Repository, told: Answer | None
    ) -> Arrived:
        """The answer of one registry, or of a host that it redirects to. Raises Denied."""
        scope = f"repository:{_named(question.url) or repository}:pull"
        flow = negotiate(scope, None if told else authority.remembered(scope), told)
        arrived: Arrived | None = None
        step, used = next(flow), authority.challenge
        while True:
            if arrived is not None:
                await drain(arrived.response)  # something else is to be asked first
            if isinstance(step, SendResource):
                arrived = await self._transport.send(
                    question.method, question.url, question.headers, step.authorization
                )
            if isinstance(step, FetchToken):
                used = step
            try:
                step = flow.send(await self._reply(step, arrived, authority, used))
            except StopIteration as stop:
                outcome = stop.value
                break
        if isinstance(outcome, Refusal) or arrived is None:
            if arrived is not None:
                await drain(arrived.response)
            page = arrived is not None and is_page(arrived.response)
            raise Denied(NEEDS_CREDENTIALS, revoked=not page)
        if used is not None:
            authority.learn(used, scope)
        return arrived

    async def _reply(
        self, step: Step, arrived: Arrived | None, authority: _Authority, used: FetchToken | None
    ) -> Reply:
        match step:
            case SendPing():
                ping = await self._transport.send("GET", f"{authority.base}/v2/", {}, None)
                lines = () if ping.moved else tuple(ping.response.headers.getall("WWW-Authenticate", ()))
                await drain(ping.response)
                return Answer(ping.response.status, lines)
            case FetchToken():
                return await self._tokens.get(authority.site, step)
            case _:
                assert arrived is not None
                return self._answer(arrived, authority, used)

    def _answer(self, arrived: Arrived, authority: _Authority, used: FetchToken | None) -> Answer:
        """What came of sending the resource, as far as this authority is concerned."""
        response = arrived.response
        if arrived.moved:
            # Another host said it, and that speaks for itself: neither is it of our token nor for us to answer.
            return Answer(200, ())
        spent = meaning(Question.HELD_TOKEN, response.status) is Meaning.TOKEN_SPENT
        if response.status == 404 and used is not None:
            renewed = self._tokens.renewed(authority.site, used)
            spent = renewed is None or renewed >= ABSENCE_BELIEVED
        return Answer(response.status, tuple(response.headers.getall("WWW-Authenticate", ())), spent)

    async def close(self) -> None:
        """Stop what is being fetched."""
        await self._tokens.close()


def _site(url: str) -> str:
    """Scheme, host and port of a URL: whom a token is for."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _named(url: str) -> str | None:
    """The repository that a URL of a registry names."""
    found = _PATH.search(urlsplit(url).path)
    return None if found is None else found["name"]


@dataclass(frozen=True, slots=True)
class _Kept:
    value: str
    until: float
    renewed_at: float | None


class Tokens:
    """The tokens of one upstream and of those that it redirects to; `within`: seconds in which one must come."""

    def __init__(self, transport: Transport, clock: Clock, within: float) -> None:
        self._transport = transport
        self._clock = clock
        self._within = within
        self._kept: Bounded[_Key, _Kept] = Bounded(MAX_TOKENS)
        self._fetching: Flights[_Key, Bearer | TokenRefused] = Flights(MAX_TOKENS)

    async def get(self, site: str, wanted: FetchToken) -> Bearer | TokenRefused:
        """A token for the host `site` (scheme, name and port). Raises UpstreamError."""
        key = site, replace(wanted, fresh=False)
        kept = self._kept.get(key)
        if kept is not None and not wanted.fresh and self._clock.monotonic() < kept.until:
            return Bearer(kept.value, kept=True)
        return await self._fetching.join(key, lambda: self._fetch(key, renewing=wanted.fresh))

    def renewed(self, site: str, wanted: FetchToken) -> float | None:
        """Seconds since this token was got in place of one that was refused; None where it was not."""
        kept = self._kept.get((site, replace(wanted, fresh=False)))
        if kept is None or kept.renewed_at is None:
            return None
        return self._clock.monotonic() - kept.renewed_at

    async def _fetch(self, key: _Key, *, renewing: bool) -> Bearer | TokenRefused:
        try:
            async with asyncio.timeout(self._within):
                token = await self._request(*key)
        except TimeoutError:
            raise Unavailable("the upstream's token service did not answer in time") from None
        if token is None:
            return TokenRefused()
        now = self._clock.monotonic()
        self._kept[key] = _Kept(token.value, now + token.lifetime - SPENT_EARLY, now if renewing else None)
        return Bearer(token.value)

    async def close(self) -> None:
        """Stop what is being fetched."""
        await self._fetching.close()

    async def _request(self, site: str, wanted: FetchToken) -> Token | None:
        try:
            url = token_url(wanted.realm, wanted.service, wanted.scope)
        except OciError:
            raise Misbehaved("the upstream names a token service that is not a URL") from None
        if site.startswith("https://") and not url.lower().startswith("https://"):
            raise Misbehaved(IN_CLEAR)
        self._transport.check(url)
        arrived = await self._transport.send("GET", url, {"Accept": "application/json"}, None)
        response = arrived.response
        if meaning(Question.TOKEN, response.status) is Meaning.DENIED:
            await drain(response)
            if response.status in {401, 403} and not is_page(response):
                return None
            raise Denied(f"the upstream's token service has no token for this ({response.status})")
        await judge(response, Question.TOKEN, self._clock.wall())
        try:
            return parse_token(await read_bounded(response, MAX_TOKEN_BODY))
        except OciError as problem:
            raise Misbehaved(f"the upstream's token service sent no token ({problem.detail})") from problem
