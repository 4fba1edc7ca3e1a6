"""The anonymous token flow of registries, as a conversation that awaits nothing.

`negotiate` yields what is to be done and is sent what came of it, so it runs without a network, and there is only one
place that knows the order of things. Public registries want a token from anonymous clients, too; we hold no
credentials, so a registry that asks for any has denied us. Source:
https://github.com/distribution/distribution/blob/main/docs/content/spec/auth/token.md.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, replace
from urllib.parse import urlencode

import msgspec

from obol.oci.errors import UPSTREAM_BROKEN, OciError
from obol.oci.fields import Challenge, parse_challenges

MAX_SENDS = 3
"""Times a resource is asked for: as we are, with a token, and with a fresh or wider one."""

MAX_SCOPES = 16
"""Scopes of one challenge that are asked for."""

MIN_LIFETIME = 60.0
MAX_LIFETIME = 3600.0

_REALM = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_TOKEN_VALUE = re.compile(r"[!-~]{1,16384}")
_SECONDS = re.compile(rb"(?P<whole>[0-9]+)(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class SendResource:
    """Ask for the resource, with this Authorization field or none. Its reply is an Answer."""

    authorization: str | None


@dataclass(frozen=True, slots=True)
class SendPing:
    """Ask for `/v2/` without Authorization. Its reply is an Answer."""


@dataclass(frozen=True, slots=True)
class FetchToken:
    """Get a token for `scope`; with `fresh`, none that was got before. Its reply is a Bearer or TokenRefused."""

    realm: str
    service: str
    scope: str
    fresh: bool


Step = SendResource | SendPing | FetchToken


@dataclass(frozen=True, slots=True)
class Answer:
    """What the registry said: the status and its WWW-Authenticate lines.

    `spent`: with a token that was got earlier, the status may mean that the token is what is refused.
    """

    status: int
    challenges: tuple[str, ...]
    spent: bool = False


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token; `kept`: it was got for an earlier question."""

    value: str
    kept: bool = False


@dataclass(frozen=True, slots=True)
class TokenRefused:
    """The token server has no token for us."""


Reply = Answer | Bearer | TokenRefused


@dataclass(frozen=True, slots=True)
class Proceed:
    """The last answer to SendResource is the one to use."""


@dataclass(frozen=True, slots=True)
class AccessDenied:
    """An anonymous client may not have the resource."""

    why: str


Outcome = Proceed | AccessDenied


def negotiate(scope: str, remembered: FetchToken | None, told: Answer | None = None) -> Generator[Step, Reply, Outcome]:
    """Ask for a resource, getting tokens as the registry demands.

    `scope` is used where the challenge names none; `remembered` is the last FetchToken that worked for this scope;
    `told` is what the registry answered already, when it was asked without Authorization.
    """
    authorization: str | None = None
    fetch = replace(remembered, fresh=False) if remembered is not None else None
    widened = kept = False
    for _ in range(MAX_SENDS):
        if fetch is not None:
            reply = yield fetch
            if not isinstance(reply, Bearer):
                return AccessDenied("the token server has no token for us")
            authorization, kept = f"Bearer {reply.value}", reply.kept
        answer = told or (yield SendResource(authorization))
        told = None
        if fetch is not None and kept and _suspect(answer):
            fetch = replace(fetch, fresh=True)
            continue
        if not isinstance(answer, Answer) or answer.status not in {401, 403}:
            return Proceed()
        challenges = parse_challenges(answer.challenges)
        narrow = authorization is not None and _asks_for_more(challenges)
        if answer.status == 403 and authorization is not None and not narrow:
            return AccessDenied("the registry answered 403")
        if widened or (fetch is not None and fetch.fresh and not narrow):
            break
        widened = narrow
        if not challenges:
            ping = yield SendPing()
            challenges = parse_challenges(ping.challenges) if isinstance(ping, Answer) else ()
        fetch = _wanted(challenges, scope, fresh=authorization is not None)
        if fetch is None:
            return AccessDenied(f"the registry answered {answer.status} and offers no Bearer tokens")
    return AccessDenied("the registry does not take the token that it asked for")


def _suspect(answer: Reply) -> bool:
    """Whether something else than a plain 401, which is the flow's own business, may be about the token."""
    return isinstance(answer, Answer) and answer.spent and answer.status != 401


def _asks_for_more(challenges: tuple[Challenge, ...]) -> bool:
    return any(c.scheme == "bearer" and c.get("error") == "insufficient_scope" for c in challenges)


def _wanted(challenges: tuple[Challenge, ...], scope: str, *, fresh: bool) -> FetchToken | None:
    """The token that the first usable Bearer challenge asks for; its own scope goes before ours, as it stands."""
    for challenge in challenges:
        realm = challenge.get("realm")
        if challenge.scheme == "bearer" and realm:
            return FetchToken(realm, challenge.get("service") or "", challenge.get("scope") or scope, fresh)
    return None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, and how many seconds it may be used from the moment it was asked for, by our own clock."""

    value: str
    lifetime: float


class _TokenDocument(msgspec.Struct, frozen=True):
    token: str | None = None
    access_token: str | None = None
    expires_in: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_TokenDocument).decode


def token_url(realm: str, service: str, scope: str) -> str:
    """The address to get a token from. A scope may be several, parted by blanks; each gets a parameter of its own.

    Raises OciError (UPSTREAM_BROKEN) for a realm that is not an absolute http or https URL.
    """
    if _REALM.fullmatch(realm) is None:
        raise OciError(UPSTREAM_BROKEN, f"the token server's address cannot be used: {realm}")
    address = realm.partition("#")[0]
    parameters = [("service", service)] if service else []
    parameters += [("scope", part) for part in scope.split()[:MAX_SCOPES]]
    # A lone surrogate stands for an undecodable byte of a header field; it has no UTF-8 form.
    query = urlencode(parameters, errors="replace")
    if not query:
        return address
    base, mark, own = address.partition("?")
    return f"{base}?{own}&{query}" if mark and own else f"{base}?{query}"


def parse_token(body: bytes) -> Token:
    """Read the token server's answer, of any Content-Type. When it was issued is not believed: clocks differ.

    Raises OciError (UPSTREAM_BROKEN) where there is no token that could be sent in a header field.
    """
    try:
        document = _decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        # The error would quote the document, and that may hold a secret.
        raise OciError(UPSTREAM_BROKEN, "the token server's answer is not a token document") from None
    value = document.token or document.access_token or ""
    if _TOKEN_VALUE.fullmatch(value) is None:
        raise OciError(UPSTREAM_BROKEN, "the token server's answer holds no usable token")
    return Token(value, _lifetime(bytes(document.expires_in)))


def _lifetime(raw: bytes) -> float:
    match = _SECONDS.fullmatch(raw)
    if match is None:
        return MIN_LIFETIME
    # Beyond nine digits a number is past the cap, and converting thousands of them is slow.
    if len(match["whole"]) > 9:
        return MAX_LIFETIME
    return min(max(float(raw), MIN_LIFETIME), MAX_LIFETIME)
