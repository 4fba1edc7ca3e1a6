"""The office that hands out bearer tokens, and what the registries that ask for them share."""

import asyncio
import json
import secrets
from urllib.parse import parse_qs

from tests.fakes.server import Answer, ReceivedRequest


class TokenOffice:
    """Issues and checks tokens.

    - `lifetime`: seconds for which a token is good, on the loop's clock.
    - `expires_in`: what the answer says about it; None: the lifetime; a string or a negative number is passed on.
    - `fields`: the names under which the token is given.
    """

    def __init__(self, lifetime: float = 300.0) -> None:
        self.lifetime = lifetime
        self.expires_in: int | str | None = None
        self.fields: tuple[str, ...] = ("token", "access_token")
        self._issued: dict[str, tuple[frozenset[str], float]] = {}

    def issue(self, scopes: frozenset[str]) -> Answer:
        """A new token, as the token endpoint answers it."""
        token = secrets.token_urlsafe(24)
        self._issued[token] = scopes, asyncio.get_running_loop().time() + self.lifetime
        told = int(self.lifetime) if self.expires_in is None else self.expires_in
        document = dict.fromkeys(self.fields, token) | {"expires_in": told, "issued_at": "2026-01-02T03:04:05Z"}
        return Answer(200, (("Content-Type", "application/json"),), json.dumps(document).encode())

    def scopes_of(self, seen: ReceivedRequest) -> frozenset[str] | None:
        """What the request's bearer token is good for, or None without one that is known and fresh."""
        scheme, _, token = (seen.header("Authorization") or "").partition(" ")
        scopes, until = self._issued.get(token, (frozenset[str](), 0.0))
        if scheme.lower() != "bearer" or until <= asyncio.get_running_loop().time():
            return None
        return scopes

    def revoke_all(self) -> None:
        """Make every token that was issued invalid."""
        self._issued.clear()


def asked_scopes(seen: ReceivedRequest) -> tuple[str, ...]:
    """The scopes in a token request: repeated parameters, or several in one, apart by spaces."""
    return tuple(scope for value in parse_qs(seen.query).get("scope", []) for scope in value.split(" ") if scope)


def repository_of(scope: str) -> str:
    """The name in `repository:<name>:<actions>`; empty for another kind of scope."""
    kind, _, rest = scope.partition(":")
    return rest.rpartition(":")[0] if kind == "repository" else ""


def pull_scope(repository: str) -> str:
    """The scope that reading a repository needs."""
    return f"repository:{repository}:pull"


def covers(scopes: frozenset[str], repository: str) -> bool:
    """Whether one of the scopes lets its holder pull from the repository."""
    return any(repository_of(scope) == repository and "pull" in scope.rpartition(":")[2] for scope in scopes)


def bearer(realm: str, service: str, scope: str = "", problem: str = "") -> tuple[str, str]:
    """A `WWW-Authenticate` header."""
    parts = {"realm": realm, "service": service, "scope": scope, "error": problem}
    return "WWW-Authenticate", "Bearer " + ",".join(f'{key}="{value}"' for key, value in parts.items() if value)
