"""Anonymous tokens: drives the pure flow of `oci.tokens` over HTTP and remembers what it learnt.

After the first challenge an upstream's realm and service are known, so the next repository gets its token without
another 401. Tokens are kept by realm, service and scope, never used for another repository, and their lifetime runs on
our own monotonic clock.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from obol.machine.tasks import spawn
from obol.oci.errors import OciError
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
from obol.oci.tokens import Denied as Refusal
from obol.registry.upstream.base import Denied, Misbehaved, Unavailable
from obol.registry.upstream.reading import drain, judge, read_bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obol.machine.clock import Clock
    from obol.oci.references import Repository
    from obol.registry.upstream.transport import Arrived, Transport

MAX_TOKEN_BODY = 1024 * 1024
MAX_TOKENS = 1000
SPENT_EARLY = 5.0
"""Seconds before its end from which a token is not used any more."""


@dataclass(frozen=True, slots=True)
class _Kept:
    value: str
    until: float


class Authenticator:
    """Sends requests to one registry with whatever anonymous token they need."""

    def __init__(self, transport: Transport, base: str, clock: Clock, within: float) -> None:
        self._transport = transport
        self._base = base
        self._clock = clock
        self._within = within
        self._tokens: dict[FetchToken, _Kept] = {}
        self._fetching: dict[FetchToken, asyncio.Task[_Kept | Exception | None]] = {}
        self._challenge: FetchToken | None = None
        self._scope_is_ours = True

    async def send(self, method: str, url: str, headers: Mapping[str, str], repository: Repository) -> Arrived:
        """Send a request about `repository`. Raises Denied and what the transport raises.

        The answer may have any status but 401 and 403.
        """
        scope = f"repository:{repository}:pull"
        flow = negotiate(scope, self._remembered(scope))
        arrived: Arrived | None = None
        step, used = next(flow), self._challenge
        while True:
            if isinstance(step, SendResource):
                arrived = await self._transport.send(method, url, headers, step.authorization)
                if arrived.response.status in {401, 403}:
                    await drain(arrived.response)
            if isinstance(step, FetchToken):
                used = step
            try:
                step = flow.send(await self._reply(step, arrived))
            except StopIteration as stop:
                outcome = stop.value
                break
        if isinstance(outcome, Refusal) or arrived is None:
            raise Denied("the upstream does not give this without credentials")
        if used is not None:
            self._learn(used, scope)
        return arrived

    def _remembered(self, scope: str) -> FetchToken | None:
        if self._challenge is None or not self._scope_is_ours:
            return self._challenge
        return replace(self._challenge, scope=scope)

    def _learn(self, used: FetchToken, scope: str) -> None:
        self._challenge = replace(used, fresh=False)
        self._scope_is_ours = used.scope == scope

    async def _reply(self, step: Step, arrived: Arrived | None) -> Reply:
        match step:
            case SendPing():
                ping = await self._transport.send("GET", f"{self._base}/v2/", {}, None)
                answer = Answer(ping.response.status, tuple(ping.response.headers.getall("WWW-Authenticate", ())))
                await drain(ping.response)
                return answer
            case FetchToken():
                value = await self._token(step)
                return TokenRefused() if value is None else Bearer(value)
            case _:
                assert arrived is not None
                response = arrived.response
                return Answer(response.status, tuple(response.headers.getall("WWW-Authenticate", ())))

    async def _token(self, wanted: FetchToken) -> str | None:
        key = replace(wanted, fresh=False)
        kept = self._tokens.get(key)
        if kept is not None and not wanted.fresh and self._clock.monotonic() < kept.until:
            return kept.value
        task = self._fetching.get(key)
        if task is None:
            task = spawn(self._fetch(key), name="token")
            self._fetching[key] = task
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
        result = await asyncio.shield(task)
        if isinstance(result, Exception):
            raise result
        return None if result is None else result.value

    async def _fetch(self, wanted: FetchToken) -> _Kept | Exception | None:
        """Several requests may wait for this one, so an error is its result, not raised in a task of its own."""
        try:
            async with asyncio.timeout(self._within):
                token = await self._request(wanted)
        except TimeoutError:
            return Unavailable("the upstream's token service did not answer in time")
        except Exception as problem:  # noqa: BLE001 - handed to every waiter as it is
            return problem
        if token is None:
            return None
        kept = _Kept(token.value, self._clock.monotonic() + token.lifetime - SPENT_EARLY)
        while len(self._tokens) >= MAX_TOKENS:
            self._tokens.pop(next(iter(self._tokens)))
        self._tokens[wanted] = kept
        return kept

    async def close(self) -> None:
        """Stop what is being fetched."""
        tasks = tuple(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _request(self, wanted: FetchToken) -> Token | None:
        try:
            url = token_url(wanted.realm, wanted.service, wanted.scope)
        except OciError:
            raise Misbehaved("the upstream names a token service that is not a URL") from None
        self._transport.check(url)
        arrived = await self._transport.send("GET", url, {"Accept": "application/json"}, None)
        if arrived.response.status in {400, 401, 403, 404}:
            await drain(arrived.response)
            return None
        await judge(arrived.response, self._clock.wall())
        try:
            return parse_token(await read_bounded(arrived.response, MAX_TOKEN_BODY))
        except OciError as problem:
            raise Misbehaved(f"the upstream's token service sent no token ({problem.detail})") from problem
