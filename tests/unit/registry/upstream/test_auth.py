from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl

import pytest

from obol.machine.tasks import spawn
from obol.oci.references import Repository
from obol.registry.upstream import auth as subject
from obol.registry.upstream.base import Denied, Misbehaved, RateLimited, Unavailable, UpstreamError
from tests.fakes.behaviours import Behaviour, endless_body, garbage, stall_before_headers
from tests.fakes.content import make_image
from tests.fakes.ghcr import FakeGhcr
from tests.fakes.hostile import CHALLENGES, HostileRegistry
from tests.fakes.hub import FakeHub
from tests.fakes.quay import FakeQuay
from tests.fakes.registry import FakeRegistry, Forced
from tests.unit.registry.upstream.reach import APP, OTHER, login_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fakes.server import Seen

IMAGE = make_image(10)
THIRD = Repository("library/third")
MANIFEST = f"/v2/{APP}/manifests/1"
SECRET = "canary-of-the-test"

Fake = TypeVar("Fake", FakeHub, FakeGhcr, FakeQuay, HostileRegistry)


def filled(fake: Fake) -> Fake:
    """The fake with the same image in three repositories."""
    for repository in (APP, OTHER, THIRD):
        fake.add(repository, "1", IMAGE)
    return fake


def sent(log: Sequence[Seen]) -> list[str]:
    """The paths of the requests, in order."""
    return [seen.path for seen in log]


async def test_an_anonymous_token_is_fetched_on_demand() -> None:
    """The challenge's service and scope get a token, and with it the request is sent again."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)

        assert await login.get() == 200

        assert sent(hub.log) == [MANIFEST, "/token", MANIFEST]
        assert parse_qsl(hub.auth.log[0].query) == [
            ("service", "registry.docker.io"),
            ("scope", f"repository:{APP}:pull"),
        ]
        assert hub.auth.log[0].header("Authorization") is None
        assert hub.api.log[0].header("Authorization") is None


async def test_the_next_repository_needs_no_challenge() -> None:
    """The realm is known by then; the token is another one, for that repository alone."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        await login.get()

        assert await login.get(OTHER) == 200

        assert hub.api.count() == 3
        assert hub.auth.log[1].query.endswith("scope=repository%3Alibrary%2Fother%3Apull")
        assert hub.api.log[1].header("Authorization") != hub.api.log[2].header("Authorization")


async def test_a_token_is_used_again() -> None:
    """Two requests about one repository need one token."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        await login.get()

        await login.get()

        assert (hub.auth.count(), hub.api.count()) == (1, 3)


async def test_many_at_once_fetch_one_token() -> None:
    """Fifty requests that find no token wait for the same one."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)

        statuses = await asyncio.gather(*(login.get() for _ in range(50)))

        assert set(statuses) == {200}
        assert hub.auth.count() == 1


async def test_two_repositories_at_once_get_a_token_each() -> None:
    """A token is never lent to another repository."""
    async with FakeGhcr() as ghcr, login_at(ghcr.url) as login:
        filled(ghcr)

        statuses = await asyncio.gather(*(login.get(name, "tags/list") for name in (APP, OTHER, THIRD) * 5))

        assert set(statuses) == {200}
        assert ghcr.count(part="/token") == 3


async def test_a_bare_401_is_explained_by_the_ping() -> None:
    """Where the 401 has no challenge that of /v2/ is used, and remembered."""
    async with FakeQuay() as quay, login_at(quay.url) as login:
        filled(quay)

        assert [await login.get(), await login.get(OTHER)] == [200, 200]

        other = MANIFEST.replace(APP, OTHER)
        assert sent(quay.log) == [MANIFEST, "/v2/", "/v2/auth", MANIFEST, "/v2/auth", other]


async def test_a_challenges_own_scope_is_taken_as_it_stands() -> None:
    """With a scope that is not a repository's, one token serves all repositories."""
    async with HostileRegistry() as server, login_at(server.url) as login:
        filled(server)
        server.challenge = 'Bearer realm="{url}/token",service="public.ecr.aws",scope="aws"'

        assert [await login.get(), await login.get(OTHER)] == [200, 200]

        tokens = [seen for seen in server.log if seen.path == "/token"]
        assert [parse_qsl(seen.query) for seen in tokens] == [[("service", "public.ecr.aws"), ("scope", "aws")]]


async def test_a_realms_own_query_is_kept() -> None:
    """What the realm asks with goes before what we ask."""
    async with HostileRegistry() as server, login_at(server.url) as login:
        filled(server)
        server.challenge = 'Bearer realm="{url}/token?x=%7E1",service="s"'

        assert await login.get() == 200

        assert server.log[1].query == f"x=%7E1&service=s&scope=repository%3A{APP.replace('/', '%2F')}%3Apull"


async def test_an_upstream_without_tokens_is_asked_once() -> None:
    """Nobody asks for a token, so none is fetched."""
    async with FakeRegistry() as server, login_at(server.url) as login:
        server.add(APP, "1", IMAGE)

        assert [await login.get(), await login.get(APP, "manifests/none")] == [200, 404]

        assert server.count() == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_token_that_is_refused_means_denied(status: int) -> None:
    """A token service's refusal says that nobody in particular may not read this; other repositories may be read."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        hub.auth.status_for = {"other": Forced(status, (), SECRET.encode())}
        await login.get()

        with pytest.raises(Denied) as told:
            await login.get(OTHER)

        assert SECRET not in str(told.value)
        assert await login.get(THIRD) == 200


@pytest.mark.parametrize("kind", [FakeGhcr, FakeQuay])
async def test_private_repositories_are_denied(kind: type[FakeGhcr | FakeQuay]) -> None:
    """The ways of ghcr.io (403) and quay.io (401) mean the same."""
    async with kind() as server, login_at(server.url) as login:
        server.add(APP, "1", IMAGE)
        server.add(OTHER, "1", IMAGE)
        server.private.add(OTHER)

        with pytest.raises(Denied):
            await login.get(OTHER)

        assert await login.get(APP, "tags/list") == 200
        assert server.connections == 1


async def test_insufficient_scope_is_no_loop() -> None:
    """An upstream that always wants more gets one more token, then no more."""
    async with FakeRegistry() as server, login_at(server.url) as login:
        challenge = f'Bearer realm="{server.url}/token",scope="more",error="insufficient_scope"'
        server.status_for = {
            "/token": Forced(200, (), b'{"token": "t"}'),
            MANIFEST: Forced(401, (("WWW-Authenticate", challenge),)),
        }

        with pytest.raises(Denied):
            await login.get()

        assert server.count(part="/token") <= 2
        assert server.count(part=MANIFEST) <= 3


@pytest.mark.parametrize("challenge", ['Basic realm="x"', "Negotiate", 'Digest realm="x", nonce="y"'])
async def test_what_needs_credentials_is_denied(challenge: str) -> None:
    """Without a Bearer challenge there is nothing to be had; the refusal's body, however long, is not kept open."""
    async with FakeRegistry() as server, login_at(server.url) as login:
        server.status_for = {MANIFEST: Forced(401, (("WWW-Authenticate", challenge),), b"x" * 10_000_000)}

        with pytest.raises(Denied) as told:
            await login.get()

        for _ in range(100):
            await asyncio.sleep(0)
        assert server.connections == 0, told


@pytest.mark.parametrize("name", sorted(CHALLENGES.keys() - {"foreign realm"}))
async def test_a_bad_challenge_is_an_error_of_ours(name: str) -> None:
    """Whatever the challenge, nothing but UpstreamError comes out, and no token of another place is fetched."""
    async with HostileRegistry() as server, login_at(server.url) as login:
        server.challenge = CHALLENGES[name]

        with pytest.raises((Denied, Misbehaved)):
            await login.get()

        assert server.count(part="/token") == 0 or name == "open quote"


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "[::1]", "0.0.0.0", "user:x@127.0.0.1"])
async def test_a_realm_on_our_own_network_is_not_asked(host: str) -> None:
    """A challenge does not lead us to an address that is not public, by name or by number."""
    async with HostileRegistry() as server, FakeRegistry() as inside, login_at(server.url) as login:
        server.challenge = f'Bearer realm="http://{host}:{inside.port}/token"'

        with pytest.raises(Misbehaved):
            await login.get()

        assert inside.log == []


async def test_an_allowed_realm_may_be_private() -> None:
    """A host that was allowed by name may give tokens."""
    async with HostileRegistry() as server, login_at(server.url, allowed=frozenset({"localhost"})) as login:
        filled(server)
        server.challenge = f'Bearer realm="http://localhost:{server.port}/token"'

        assert await login.get() == 200


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


async def test_a_token_that_ended_early_is_replaced() -> None:
    """A 401 for a token that should be good leads to one new token, which all later requests use."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        await login.get()
        hub.office.revoke_all()

        assert [await login.get(), await login.get()] == [200, 200]

        assert (hub.auth.count(), hub.api.count()) == (2, 5)


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
