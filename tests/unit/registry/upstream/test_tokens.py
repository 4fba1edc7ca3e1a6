import asyncio
import json
from dataclasses import replace

import pytest

from obol.machine.tasks import spawn
from obol.oci.tokens import Bearer, FetchToken
from obol.registry.upstream import auth as subject
from obol.registry.upstream.auth import Tokens
from obol.registry.upstream.ports import Misbehaved, RateLimited, Unavailable, UpstreamError
from tests.fakes.behaviours import Behaviour, endless_body, garbage, stall_before_headers
from tests.fakes.clock import FakeClock
from tests.fakes.hostile import HostileRegistry
from tests.fakes.hub import FakeHub
from tests.fakes.registry import Forced
from tests.unit.registry.upstream.reach import APP, OTHER, SECRET, THIRD, filled, login_at, transport_to

MANIFEST = f"/v2/{APP}/manifests/1"


@pytest.mark.parametrize("fields", [("token",), ("access_token",), ("token", "access_token")])
async def test_either_name_of_a_token_will_do(fields: tuple[str, ...]) -> None:
    """`token` and `access_token` mean the same."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        hub.office.fields = fields

        assert await login.get() == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>",
        json.dumps({"refresh_token": SECRET}).encode(),
        json.dumps({"token": f"{SECRET}\r\nX: y"}).encode(),
        json.dumps({"token": [SECRET]}).encode(),
        b"[" * 100_000,
        b" " * (1024 * 1024) + b'{"token": "t"}',
    ],
    ids=lambda body: ascii(body[:20]),
)
async def test_an_answer_without_a_token_is_not_believed(body: bytes) -> None:
    """No token, no document, or too long: refused, and nothing of it gets into the error."""
    async with HostileRegistry({"token": endless_body}) as server, login_at(server.url) as login:
        server.status_for = {}
        server.behaviours["token"] = lambda exchange: exchange.wire.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

        with pytest.raises(Misbehaved) as told:
            await login.get()

        assert SECRET not in str(told.value)


@pytest.mark.parametrize("behaviour", [endless_body, garbage], ids=["endless", "garbage"])
async def test_a_hostile_token_service_is_no_trouble(behaviour: Behaviour) -> None:
    """An endless answer, or one that is no text, is cut off and refused."""
    async with HostileRegistry({"token": behaviour}) as server, login_at(server.url) as login:
        with pytest.raises(Misbehaved):
            await login.get()


@pytest.mark.parametrize(
    ("told", "good_for"), [(None, 300.0), (0, 60.0), (-1, 60.0), ("soon", 60.0), (90, 90.0), (10**12, 3600.0)]
)
async def test_a_token_is_used_until_shortly_before_its_end(told: int | str | None, good_for: float) -> None:
    """Lifetimes run on our own clock and within bounds, whatever the service says of them or of its own clock."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        hub.office.expires_in = told
        await login.get()

        login.clock.advance(good_for - subject.SPENT_EARLY - 0.1)
        await login.get()
        assert hub.auth.count() == 1

        login.clock.advance(0.2)
        await login.get()
        assert hub.auth.count() == 2
        assert hub.api.count() == 4


async def test_a_failed_fetch_is_not_remembered() -> None:
    """When the token service is back the next request succeeds at once."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        hub.auth.status_for = {"/token": 503}
        results = await asyncio.gather(*(login.get() for _ in range(5)), return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        hub.auth.status_for = {}

        assert await login.get() == 200


async def test_a_token_services_rate_limit_is_the_upstreams() -> None:
    """A 429 for a token says how long to wait."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        hub.auth.status_for = {"/token": Forced(429, (("Retry-After", "7"),))}

        with pytest.raises(RateLimited) as told:
            await login.get()

        assert told.value.seconds == 7.0


async def test_a_silent_token_service_is_given_up() -> None:
    """The token has a time limit of its own."""
    async with HostileRegistry({"token": stall_before_headers}) as server, login_at(server.url, within=0.05) as login:
        with pytest.raises(Unavailable, match="token service did not answer in time"):
            await login.get()


async def test_one_who_stops_waiting_takes_nothing_from_the_others() -> None:
    """The first asker is cancelled while the token is on its way; the second gets it."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        hub.auth.delay = asyncio.Event()
        first, second = spawn(login.get(), name="first"), spawn(login.get(), name="second")
        await hub.auth.until(1)

        first.cancel()
        hub.auth.delay.set()

        assert await second == 200
        assert hub.auth.count() == 1
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_closing_stops_what_is_being_fetched() -> None:
    """No token is waited for after the end."""
    async with HostileRegistry({"token": stall_before_headers}) as server, login_at(server.url) as login:
        asking = spawn(login.get(), name="asking")
        await server.until(1, part="/token")

        await login.auth.close()

        with pytest.raises((asyncio.CancelledError, UpstreamError)):
            await asking


async def test_tokens_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest token is forgotten, and fetched anew when it is wanted."""
    monkeypatch.setattr(subject, "MAX_TOKENS", 2)
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        for repository in (APP, OTHER, THIRD, OTHER):
            await login.get(repository)
        assert hub.auth.count() == 3

        await login.get(APP)

        assert hub.auth.count() == 4


@pytest.mark.parametrize("allowed", [frozenset[str](), frozenset({"127.0.0.1"})], ids=["own host", "allowed host"])
async def test_an_http_realm_of_an_https_upstream_is_not_asked(allowed: frozenset[str]) -> None:
    """A token that passes in clear is anybody's: refused on the upstream's own host, too, with the way out."""
    async with HostileRegistry() as server, transport_to("https://127.0.0.1:1", allowed=allowed) as transport:
        tokens = Tokens(transport, FakeClock(), 1.0)

        with pytest.raises(Misbehaved, match=r"in clear.*--upstream"):
            await tokens.get("https://127.0.0.1:1", FetchToken(f"{server.url}/token", "s", "x", fresh=False))

        assert server.log == []


async def test_a_token_is_for_one_host() -> None:
    """Two registries that name one token service for one scope get two tokens."""
    async with HostileRegistry({"token": stall_before_headers}) as server, transport_to(server.url) as transport:
        server.behaviours = {}
        tokens = Tokens(transport, FakeClock(), 1.0)
        wanted = FetchToken(f"{server.url}/token", "s", "x", fresh=False)

        one, two = await tokens.get("http://a.test", wanted), await tokens.get("http://b.test", wanted)
        again = await tokens.get("http://a.test", wanted)

        assert isinstance(one, Bearer)
        assert one != two
        assert again == Bearer(one.value, kept=True)


async def test_a_renewed_token_is_known() -> None:
    """Since when a token stands in for one that was refused; a first one does not."""
    clock = FakeClock()
    async with HostileRegistry({"token": stall_before_headers}) as server, transport_to(server.url) as transport:
        server.behaviours = {}
        tokens = Tokens(transport, clock, 1.0)
        wanted = FetchToken(f"{server.url}/token", "s", "x", fresh=False)
        await tokens.get("http://a.test", wanted)
        assert tokens.renewed("http://a.test", wanted) is None

        await tokens.get("http://a.test", replace(wanted, fresh=True))
        clock.advance(3.0)

        assert tokens.renewed("http://a.test", wanted) == 3.0
