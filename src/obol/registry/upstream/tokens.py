"""Anonymous tokens: got once for everybody who wants the same, and kept until shortly before their end.

A token belongs to the host that asked for it: two registries that name the same token service get two tokens. What a
token is got with is never less protected than what it is for: a host that is reached by https does not send us to http.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from obol.machine.bounded import Bounded
from obol.machine.tasks import spawn
from obol.oci.errors import OciError
from obol.oci.tokens import Bearer, FetchToken, Token, TokenRefused, parse_token, token_url
from obol.registry.policy.statuses import Meaning, Question, meaning
from obol.registry.upstream.ports import Denied, Misbehaved, Unavailable
from obol.registry.upstream.reading import drain, is_page, judge, read_bounded

if TYPE_CHECKING:
    from obol.machine.clock import Clock
    from obol.registry.upstream.transport import Transport

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
        self._fetching: dict[_Key, asyncio.Task[_Kept | Exception | None]] = {}

    async def get(self, site: str, wanted: FetchToken) -> Bearer | TokenRefused:
        """A token for the host `site` (scheme, name and port). Raises UpstreamError."""
        key = site, replace(wanted, fresh=False)
        kept = self._kept.get(key)
        if kept is not None and not wanted.fresh and self._clock.monotonic() < kept.until:
            return Bearer(kept.value, kept=True)
        task = self._fetching.get(key)
        if task is None:
            task = spawn(self._fetch(key, renewing=wanted.fresh), name="token")
            self._fetching[key] = task
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
        result = await asyncio.shield(task)
        if isinstance(result, Exception):
            raise result
        return TokenRefused() if result is None else Bearer(result.value)

    def renewed(self, site: str, wanted: FetchToken) -> float | None:
        """Seconds since this token was got in place of one that was refused; None where it was not."""
        kept = self._kept.get((site, replace(wanted, fresh=False)))
        if kept is None or kept.renewed_at is None:
            return None
        return self._clock.monotonic() - kept.renewed_at

    async def _fetch(self, key: _Key, *, renewing: bool) -> _Kept | Exception | None:
        """Several requests may wait for this one, so an error is its result, not raised in a task of its own."""
        try:
            async with asyncio.timeout(self._within):
                token = await self._request(*key)
        except TimeoutError:
            return Unavailable("the upstream's token service did not answer in time")
        except Exception as problem:  # noqa: BLE001 - handed to every waiter as it is
            return problem
        if token is None:
            return None
        now = self._clock.monotonic()
        kept = _Kept(token.value, now + token.lifetime - SPENT_EARLY, now if renewing else None)
        self._kept[key] = kept
        return kept

    async def close(self) -> None:
        """Stop what is being fetched."""
        tasks = tuple(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
