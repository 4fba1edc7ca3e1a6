"""A registry like quay.io: a 401 says nothing about tokens, only `GET /v2/` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.registry import FakeRegistry, error, kind_of, route
from tests.fakes.tokens import TokenOffice, asked_scopes, bearer, covers, repository_of

if TYPE_CHECKING:
    from tests.fakes.link import SlowLink
    from tests.fakes.server import Answer, Seen


class FakeQuay(FakeRegistry):
    """quay-like; repositories named in `private` are as good as absent."""

    def __init__(self, link: SlowLink | None = None) -> None:
        super().__init__(link)
        self.office = TokenOffice()
        self.private: set[str] = set()

    async def answer(self, seen: Seen) -> Answer:
        """Tokens at `/v2/auth`; else what the token is good for."""
        kind = kind_of(seen.path)
        if kind == "token":
            return self._token(seen)
        scopes = self.office.scopes_of(seen)
        where = route(seen.path)
        if scopes is None and kind == "ping":
            return error(401, "UNAUTHORIZED", "access denied", bearer(self.url + "/v2/auth", "quay.io"))
        if scopes is None or (where and (where.repository in self.private or not covers(scopes, where.repository))):
            return error(401, "UNAUTHORIZED", "access to the requested resource is not authorized")
        return await super().answer(seen)

    def _token(self, seen: Seen) -> Answer:
        scopes = asked_scopes(seen)
        for name in map(repository_of, scopes):
            if name not in self.repositories or name in self.private:
                return error(401, "UNAUTHORIZED", "Could not find robot or user, or the repository does not exist")
        return self.office.issue(frozenset(scopes))
