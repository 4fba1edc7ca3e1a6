"""A registry like quay.io: a 401 says nothing about tokens, only `GET /v2/` does."""

from tests.fakes.ghcr import PrivateRegistry
from tests.fakes.registry import error, kind_of, route
from tests.fakes.server import Answer, ReceivedRequest
from tests.fakes.tokens import bearer


class FakeQuay(PrivateRegistry):
    """quay-like."""

    async def answer(self, seen: ReceivedRequest) -> Answer:
        """Tokens at `/v2/auth`; else what the token is good for."""
        kind = kind_of(seen.path)
        if kind == "token":
            refusal = "Could not find robot or user, or the repository does not exist"
            return self.token(seen, error(401, "UNAUTHORIZED", refusal))
        scopes = self.office.scopes_of(seen)
        if scopes is None and kind == "ping":
            return error(401, "UNAUTHORIZED", "access denied", bearer(self.url + "/v2/auth", "quay.io"))
        if scopes is None or self.hides(route(seen.path), scopes):
            return error(401, "UNAUTHORIZED", "access to the requested resource is not authorized")
        return await super().answer(seen)
