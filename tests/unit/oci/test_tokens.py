import contextlib
import json
from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.errors import UPSTREAM_BROKEN, OciError
from obol.oci.tokens import (
    MAX_SENDS,
    AccessDenied,
    Answer,
    Bearer,
    FetchToken,
    Outcome,
    Proceed,
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

SCOPE = "repository:library/alpine:pull"
REALM = "https://auth.example.com/token"
OFFER = f'Bearer realm="{REALM}",service="registry.example.com",scope="{SCOPE}"'
NARROW = f'Bearer realm="{REALM}",service="registry.example.com",scope="wider",error="insufficient_scope"'
FETCH = FetchToken(REALM, "registry.example.com", SCOPE, fresh=False)
FRESH = FetchToken(REALM, "registry.example.com", SCOPE, fresh=True)
WIDER = FetchToken(REALM, "registry.example.com", "wider", fresh=True)


def refused(*challenges: str, status: int = 401) -> Answer:
    """A refusal with these WWW-Authenticate lines."""
    return Answer(status, challenges)


def play(replies: Iterable[Reply], remembered: FetchToken | None = None) -> tuple[list[Step], Outcome | None]:
    """The steps that the flow takes when it is given these replies, and its outcome if it came to one."""
    flow = negotiate(SCOPE, remembered)
    steps = [next(flow)]
    for reply in replies:
        try:
            steps.append(flow.send(reply))
        except StopIteration as stop:
            return steps, stop.value
    return steps, None


@pytest.mark.parametrize("status", [200, 206, 304, 404, 429, 500, 503])
def test_other_answers_stand(status: int) -> None:
    """Without a refusal the first answer stands."""
    assert play([Answer(status, ())]) == ([SendResource(None)], Proceed())


def test_a_token_is_fetched_on_demand() -> None:
    """A refusal with a Bearer challenge leads to one token and a second try."""
    steps, outcome = play([refused(OFFER), Bearer("t"), Answer(200, ())])

    assert steps == [SendResource(None), FETCH, SendResource("Bearer t")]
    assert outcome == Proceed()


def test_a_remembered_token_goes_first() -> None:
    """Where a token worked before, one is got before anything is sent, and an old one will do."""
    steps, outcome = play([Bearer("t"), Answer(200, ())], remembered=FRESH)

    assert steps == [FETCH, SendResource("Bearer t")]
    assert outcome == Proceed()


def test_a_stale_token_is_replaced_once() -> None:
    """A token that is no longer taken leads to a fresh one, and if that is not taken either, to a denial."""
    steps, outcome = play([Bearer("old"), refused(OFFER), Bearer("new"), refused(OFFER)], remembered=FETCH)

    assert steps == [FETCH, SendResource("Bearer old"), FRESH, SendResource("Bearer new")]
    assert isinstance(outcome, AccessDenied)


def test_a_kept_token_may_be_stale_too() -> None:
    """The token that the first refusal led to may be an old one, so a second refusal asks for a fresh one; no more."""
    steps, outcome = play([refused(OFFER), Bearer("kept"), refused(OFFER), Bearer("new"), refused(OFFER)])

    assert steps == [SendResource(None), FETCH, SendResource("Bearer kept"), FRESH, SendResource("Bearer new")]
    assert isinstance(outcome, AccessDenied)


def test_the_scope_of_the_challenge_goes_before_ours() -> None:
    """Some registries have scopes of their own kind; they are used as they stand."""
    steps, _ = play([refused(f'Bearer realm="{REALM}",service="s",scope="aws"')])

    assert steps[-1] == FetchToken(REALM, "s", "aws", fresh=False)


@pytest.mark.parametrize("scope", ["", ',scope=""'])
def test_our_scope_is_used_where_the_challenge_has_none(scope: str) -> None:
    """A challenge without scope gets the scope of the repository."""
    steps, _ = play([refused(f'Bearer realm="{REALM}"{scope}')])

    assert steps[-1] == FetchToken(REALM, "", SCOPE, fresh=False)


@pytest.mark.parametrize("status", [401, 403])
def test_a_narrow_token_is_widened_once(status: int) -> None:
    """A token of too small a scope leads to exactly one more, with the scope that is asked for."""
    narrow = refused(NARROW, status=status)
    steps, outcome = play([refused(OFFER), Bearer("a"), narrow, Bearer("b"), narrow])

    assert steps == [SendResource(None), FETCH, SendResource("Bearer a"), WIDER, SendResource("Bearer b")]
    assert isinstance(outcome, AccessDenied)


def test_a_fresh_token_may_be_widened() -> None:
    """After a stale token a wider one may still be asked for, within the bound of sends."""
    steps, outcome = play(
        [Bearer("old"), refused(OFFER), Bearer("new"), refused(NARROW), Bearer("wide"), Answer(200, ())], FETCH
    )

    assert steps[2:] == [FRESH, SendResource("Bearer new"), WIDER, SendResource("Bearer wide")]
    assert outcome == Proceed()


def test_the_sends_are_bounded() -> None:
    """The last try is the third, whatever is asked for then."""
    steps, outcome = play([refused(OFFER), Bearer("a"), refused(OFFER), Bearer("b"), refused(NARROW)])

    assert sum(isinstance(step, SendResource) for step in steps) == MAX_SENDS
    assert isinstance(outcome, AccessDenied)


def test_a_bare_refusal_leads_to_a_ping() -> None:
    """Where the refusal says nothing, the challenge of the ping is used."""
    steps, outcome = play([refused(), refused(f'Bearer realm="{REALM}"'), Bearer("t"), Answer(200, ())])

    assert steps == [
        SendResource(None),
        SendPing(),
        FetchToken(REALM, "", SCOPE, fresh=False),
        SendResource("Bearer t"),
    ]
    assert outcome == Proceed()


@pytest.mark.parametrize("ping", [Answer(200, ()), refused(), refused('Basic realm="x"'), TokenRefused()])
def test_a_ping_may_have_no_challenge_either(ping: Reply) -> None:
    """Without a Bearer challenge anywhere, we are denied."""
    steps, outcome = play([refused(), ping])

    assert steps == [SendResource(None), SendPing()]
    assert isinstance(outcome, AccessDenied)


@pytest.mark.parametrize("challenge", ['Basic realm="x"', "Negotiate", "Bearer", 'Bearer realm=""'])
def test_without_bearer_we_are_denied(challenge: str) -> None:
    """We are nobody, so schemes that want somebody are of no use, nor is Bearer without a realm."""
    steps, outcome = play([refused(challenge)])

    assert steps == [SendResource(None)]
    assert isinstance(outcome, AccessDenied)


def test_bearer_goes_before_basic() -> None:
    """Bearer is chosen wherever it stands."""
    steps, _ = play([refused('Basic realm="x"', f"Negotiate, {OFFER}")])

    assert steps[-1] == FETCH


def test_forbidden_is_forbidden() -> None:
    """403 to a token that was just got is a denial, even if a challenge comes with it."""
    steps, outcome = play([refused(OFFER), Bearer("t"), refused(OFFER, status=403)])

    assert isinstance(steps[-1], SendResource)
    assert isinstance(outcome, AccessDenied)


@pytest.mark.parametrize("replies", [[refused(OFFER, status=403)], [refused(status=403), refused(OFFER)]])
def test_forbidden_without_a_token_may_want_one(replies: list[Reply]) -> None:
    """Some registries answer 403 where 401 is meant: clients that ping first get a token, and so do we."""
    steps, outcome = play([*replies, Bearer("t"), Answer(200, ())])

    assert steps[-2:] == [FETCH, SendResource("Bearer t")]
    assert outcome == Proceed()


def test_forbidden_where_there_are_no_tokens() -> None:
    """A registry that offers none at its ping has denied us."""
    steps, outcome = play([refused(status=403), Answer(200, ())])

    assert steps == [SendResource(None), SendPing()]
    assert isinstance(outcome, AccessDenied)


@pytest.mark.parametrize("remembered", [None, FETCH])
def test_no_token_for_us(remembered: FetchToken | None) -> None:
    """A token server that refuses is a denial, not a failure."""
    steps, outcome = play([TokenRefused()] if remembered else [refused(OFFER), TokenRefused()], remembered)

    assert steps[-1] == FETCH
    assert isinstance(outcome, AccessDenied)


REPLIES: list[Reply] = [
    Bearer("t"),
    TokenRefused(),
    Answer(200, ()),
    *(Answer(status, lines) for status in (401, 403) for lines in [(), (OFFER,), (NARROW,), ("Negotiate", NARROW)]),
]


@given(st.lists(st.sampled_from(REPLIES), min_size=10, max_size=10), st.sampled_from([None, FETCH]))
@settings(max_examples=100)
def test_the_flow_ends(replies: list[Reply], remembered: FetchToken | None) -> None:
    """Whatever is replied, the flow comes to an outcome, after at most three sends."""
    steps, outcome = play(replies, remembered)

    assert isinstance(outcome, Proceed | AccessDenied)
    assert sum(isinstance(step, SendResource) for step in steps) <= MAX_SENDS


@pytest.mark.parametrize(
    ("realm", "service", "scope", "expected"),
    [
        (REALM, "", "", REALM),
        (REALM, "s", "", f"{REALM}?service=s"),
        (REALM, "", "aws", f"{REALM}?scope=aws"),
        (
            REALM,
            "registry.docker.io",
            SCOPE,
            f"{REALM}?service=registry.docker.io&scope=repository%3Alibrary%2Falpine%3Apull",
        ),
        (
            REALM,
            "s",
            "repository:a/b:pull,push  repository:c:pull",
            f"{REALM}?service=s&scope=repository%3Aa%2Fb%3Apull%2Cpush&scope=repository%3Ac%3Apull",
        ),
        ("https://a/t?x=1", "s", "", "https://a/t?x=1&service=s"),
        ("https://a/t?x=1", "", "", "https://a/t?x=1"),
        ("https://a/t?", "s", "", "https://a/t?service=s"),
        ("https://a/t#fragment", "s", "", "https://a/t?service=s"),
        ("HTTP://a", "a&b=c d", "", "HTTP://a?service=a%26b%3Dc+d"),
        (REALM, "\udcff", "", f"{REALM}?service=%3F"),
    ],
)
def test_the_address_of_a_token(realm: str, service: str, scope: str, expected: str) -> None:
    """The realm keeps its own query; service and scopes are added where there are any."""
    assert token_url(realm, service, scope) == expected


@pytest.mark.parametrize(
    "realm", ["", "/token", "token", "//a/token", "ftp://a/t", "file:///t", "https://", "https://a b", "https://a\r\nb"]
)
def test_realms_of_no_use(realm: str) -> None:
    """A realm that is not an absolute URL of http or https is refused."""
    with pytest.raises(OciError) as caught:
        token_url(realm, "s", SCOPE)

    assert caught.value.kind is UPSTREAM_BROKEN


@given(st.text(max_size=20), st.text(alphabet=st.characters(codec=None), max_size=20), st.text(max_size=20))
@settings(max_examples=100)
def test_no_realm_raises_anything_but_our_own_error(rest: str, service: str, scope: str) -> None:
    """Whatever the challenge said, the address is refused or its query holds what we added."""
    with contextlib.suppress(OciError):
        url = token_url(f"https://a/{rest}", service, scope)
        pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, errors="surrogateescape")

        assert [value for _, value in pairs[len(pairs) - len(scope.split()) :]] == scope.split()


@pytest.mark.parametrize(
    "document",
    [
        {"token": "t"},
        {"access_token": "t"},
        {"token": "t", "access_token": "other"},
        {"token": "", "access_token": "t"},
        {"token": None, "access_token": "t"},
        {"token": "t", "expires_in": 30, "issued_at": "not a date", "refresh_token": ["x"]},
    ],
)
def test_tokens(document: dict[str, object]) -> None:
    """A token is found under either name, whatever else is there."""
    assert parse_token(json.dumps(document).encode()) == Token("t", 60.0)


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        ("0", 60.0),
        ("-5", 60.0),
        ("59", 60.0),
        ("60", 60.0),
        ("300", 300.0),
        ("300.5", 300.5),
        (" 300 ", 300.0),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("1" + "0" * 5000, 3600.0),
        ('"300"', 60.0),
        ("null", 60.0),
        ("true", 60.0),
        ("[]", 60.0),
        ("1e3", 60.0),
    ],
)
def test_the_lifetime_of_a_token(expires_in: str, lifetime: float) -> None:
    """A lifetime lies between a minute and an hour; what is no number is the minimum."""
    assert parse_token(b'{"token":"t","expires_in":%s}' % expires_in.encode()).lifetime == lifetime


@pytest.mark.parametrize("offset", ["1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z"])
def test_the_time_of_issue_is_not_believed(offset: str) -> None:
    """The lifetime counts from our own clock, whenever the token says that it was issued."""
    document = {"token": "t", "expires_in": 300, "issued_at": offset}

    assert parse_token(json.dumps(document).encode()).lifetime == 300.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"t"',
        b"<html>",
        b'{"token":5}',
        b'{"token":""}',
        b'{"token":null}',
        b'{"token":"a\\r\\nX: y"}',
        b'{"token":"a b"}',
        b'{"token":"a\\u0000"}',
        b'{"token":"\\u00e4"}',
        b'{"token":"\xff"}',
        b'{"token":"%s"}' % (b"x" * 20000),
        b'{"token":"t"',
        b'\xef\xbb\xbf{"token":"t"}',
        b'{"token":"t","expires_in":NaN}',
        b'{"token":"t","expires_in":' + b"[" * 100_000,
    ],
)
def test_answers_without_a_usable_token(body: bytes) -> None:
    """What is no token document, or holds a token that cannot stand in a header field, is the upstream's fault."""
    with pytest.raises(OciError) as caught:
        parse_token(body)

    assert caught.value.kind is UPSTREAM_BROKEN


def test_an_error_keeps_the_secret() -> None:
    """The error about a token does not repeat it."""
    with pytest.raises(OciError) as caught:
        parse_token(b'{"token":"se cret"}')

    assert "cret" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2)
)


@given(
    st.binary(max_size=50)
    | st.dictionaries(st.sampled_from(["token", "access_token", "expires_in"]), JSON).map(
        lambda document: json.dumps(document).encode()
    )
)
@settings(max_examples=100)
def test_no_body_raises_anything_but_our_own_error(body: bytes) -> None:
    """Whatever the token server says, there is a printable token of sane lifetime, or OciError."""
    with contextlib.suppress(OciError):
        token = parse_token(body)

        assert token.value.isprintable()
        assert 60.0 <= token.lifetime <= 3600.0
