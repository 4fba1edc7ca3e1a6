import asyncio
import contextlib
from collections.abc import Sequence
from urllib.parse import parse_qsl

import pytest

from obol.registry.upstream import auth as subject
from obol.registry.upstream.ports import Denied, Misbehaved, Unavailable
from tests.fakes.behaviours import redirect_to
from tests.fakes.ghcr import FakeGhcr
from tests.fakes.hostile import CHALLENGES, HostileRegistry
from tests.fakes.hub import FakeHub
from tests.fakes.optional import answers
from tests.fakes.quay import FakeQuay
from tests.fakes.registry import FakeRegistry, Forced
from tests.fakes.server import ReceivedRequest
from tests.unit.registry.upstream.reach import APP, IMAGE, OTHER, SECRET, THIRD, filled, login_at

MANIFEST = f"/v2/{APP}/manifests/1"


def sent(log: Sequence[ReceivedRequest]) -> list[str]:
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

        with pytest.raises((Denied, Misbehaved, Unavailable)):
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


async def test_a_token_that_ended_early_is_replaced() -> None:
    """A 401 for a token that should be good leads to one new token, which all later requests use."""
    async with FakeHub() as hub, login_at(hub.url) as login:
        filled(hub)
        await login.get()
        hub.office.revoke_all()

        assert [await login.get(), await login.get()] == [200, 200]

        assert (hub.auth.count(), hub.api.count()) == (2, 5)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_spent_token_is_replaced_whatever_the_status(status: int) -> None:
    """Registries refuse an old token in many ways; with a fresh one the same request succeeds, again and again."""
    async with HostileRegistry() as server, login_at(server.url) as login:
        filled(server)
        server.challenge = 'Bearer realm="{url}/token",service="s"'
        server.refuses_unknown_tokens = status
        assert await login.get() == 200
        for _ in range(2):
            server.office.revoke_all()
            login.clock.advance(subject.ABSENCE_BELIEVED)

            assert await login.get() == 200


@pytest.mark.parametrize(("status", "tokens"), [(404, 2), (400, 4)])
async def test_a_fresh_token_may_be_refused_for_another_reason(status: int, tokens: int) -> None:
    """Then the answer stands; absence, which is common, costs another token only once in a while."""
    async with HostileRegistry() as server, login_at(server.url) as login:
        filled(server)
        server.challenge = 'Bearer realm="{url}/token",service="s"'
        await login.get()
        server.behaviours = {"manifest": answers(status)}

        assert [await login.get(path=f"manifests/{tag}") for tag in "abc"] == [status] * 3

        assert server.count(part="/token") == tokens


async def test_another_registry_is_asked_with_its_own_token() -> None:
    """Where a registry redirects to another one that wants a token: each gets its own, and none of the other's."""
    async with HostileRegistry() as first, HostileRegistry() as second, login_at(first.url) as login:
        filled(second)
        first.challenge = 'Bearer realm="{url}/token",service="first"'
        second.challenge = 'Bearer realm="{url}/token",service="second",scope="repository:other/name:pull"'
        first.behaviours = {"manifest": redirect_to(f"{second.url}/v2/{APP}/manifests/1")}

        assert [await login.get(), await login.get()] == [200, 200]

        assert {parse_qsl(seen.query)[0][1] for seen in first.log if seen.path == "/token"} == {"first"}
        asked = [parse_qsl(seen.query) for seen in second.log if seen.path == "/token"]
        assert asked == [[("service", "second"), ("scope", "repository:other/name:pull")]]
        mine, other = ({seen.header("Authorization") for seen in one.log} - {None} for one in (first, second))
        assert len(mine) == len(other) == 1
        assert mine.isdisjoint(other)


async def test_a_token_of_another_registry_that_is_spent_is_replaced() -> None:
    """The second registry's tokens end, too."""
    async with HostileRegistry() as first, HostileRegistry() as second, login_at(first.url) as login:
        filled(second)
        second.challenge = 'Bearer realm="{url}/token",service="second"'
        second.refuses_unknown_tokens = 401
        first.behaviours = {"manifest": redirect_to(f"{second.url}/v2/{APP}/manifests/1")}
        await login.get()
        second.office.revoke_all()

        assert await login.get() == 200


async def test_the_guards_hold_for_another_registry() -> None:
    """Its token service may not be on our own network, either."""
    async with (
        HostileRegistry() as first,
        HostileRegistry() as second,
        FakeRegistry() as inside,
        login_at(first.url) as login,
    ):
        second.challenge = f'Bearer realm="http://localhost:{inside.port}/token"'
        first.behaviours = {"manifest": redirect_to(f"{second.url}/v2/{APP}/manifests/1")}

        with pytest.raises(Misbehaved):
            await login.get()

        assert inside.log == []


async def test_registries_that_send_on_for_ever_are_left() -> None:
    """Only so many registries are asked for one thing."""
    async with HostileRegistry() as first, HostileRegistry() as second, login_at(first.url) as login:
        first.challenge = second.challenge = 'Bearer realm="{url}/token"'
        first.behaviours = {"manifest": redirect_to(f"{second.url}/v2/{APP}/manifests/1")}
        second.behaviours = {"manifest": redirect_to(f"{first.url}/v2/{APP}/manifests/1")}

        with contextlib.suppress(Misbehaved):
            assert await login.get() == 401

        assert first.count() + second.count() < 30


@pytest.mark.parametrize(("kind", "revoked"), [("application/json", True), ("text/html", False)])
async def test_a_page_revokes_nothing(kind: str, *, revoked: bool) -> None:
    """A registry's 403 is its word on the repository; that of a gateway or a portal is not."""
    async with FakeRegistry() as server, login_at(server.url) as login:
        server.status_for = {MANIFEST: Forced(403, (("Content-Type", kind),), b"no")}

        with pytest.raises(Denied) as told:
            await login.get()

        assert told.value.revoked is revoked
