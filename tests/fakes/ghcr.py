"""A registry like ghcr.io: strict about Accept, and its token endpoint refuses what it does not know with 403."""

from tests.fakes.content import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.fakes.link import SlowLink
from tests.fakes.registry import FakeRegistry, Repository, Route, error, kind_of, route
from tests.fakes.server import Answer, ReceivedRequest
from tests.fakes.tokens import TokenOffice, asked_scopes, bearer, covers, pull_scope, repository_of

_NAMES = {
    OCI_INDEX: ("OCI index", "OCI indexes"),
    OCI_MANIFEST: ("OCI manifest", "OCI manifests"),
    DOCKER_LIST: ("manifest list", "manifest lists"),
    DOCKER_MANIFEST: ("schema 2 manifest", "schema 2 manifests"),
}


DENIED = error(403, "DENIED", "requested access to the resource is denied")


class PrivateRegistry(FakeRegistry):
    """One with tokens; repositories named in `private` are as good as absent."""

    def __init__(self, link: SlowLink | None = None) -> None:
        super().__init__(link)
        self.office = TokenOffice()
        self.private: set[str] = set()

    def hides(self, where: Route | None, scopes: frozenset[str]) -> bool:
        """Whether a token of these scopes does not show a place."""
        return where is not None and (where.repository in self.private or not covers(scopes, where.repository))

    def token(self, seen: ReceivedRequest, refusal: Answer) -> Answer:
        """A token for what was asked for, unless one of the repositories is not there."""
        scopes = asked_scopes(seen)
        if any(name not in self.repositories or name in self.private for name in map(repository_of, scopes)):
            return refusal
        return self.office.issue(frozenset(scopes))


class FakeGhcr(PrivateRegistry):
    """ghcr-like."""

    async def answer(self, seen: ReceivedRequest) -> Answer:
        """Tokens at `/token`; else what the token is good for."""
        if kind_of(seen.path) == "token":
            return self.token(seen, DENIED)
        scopes = self.office.scopes_of(seen)
        where = route(seen.path)
        if scopes is None:
            scope = pull_scope(where.repository if where else "user/image")
            return error(401, "UNAUTHORIZED", "authentication required", bearer(self.url + "/token", "ghcr.io", scope))
        if self.hides(where, scopes):
            return DENIED
        return await super().answer(seen)

    def manifest(self, seen: ReceivedRequest, held: Repository, reference: str) -> Answer:
        """A manifest whose type the client lists; `*/*` does not count as listing it."""
        stored = held.manifests.get(held.tags.get(reference, reference))
        accepted = {part.split(";")[0].strip() for part in (seen.header("Accept") or "").split(",")}
        if stored and stored.media_type not in accepted:
            one, many = _NAMES.get(stored.media_type, ("manifest", "its type"))
            return error(404, "MANIFEST_UNKNOWN", f"{one} found, but accept header does not support {many}")
        return super().manifest(seen, held, reference)
