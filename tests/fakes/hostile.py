"""A registry that is honest but for the kinds of request it is told to answer badly."""

from tests.fakes.behaviours import Behaviour, Exchange
from tests.fakes.link import SlowLink
from tests.fakes.registry import FakeRegistry, error, kind_of
from tests.fakes.server import Answer, ReceivedRequest, Wire
from tests.fakes.tokens import TokenOffice, asked_scopes

__all__ = ["CHALLENGES", "Behaviour", "HostileRegistry"]

OWN_CHALLENGE = 'Bearer realm="{url}/token",service="hostile"'

CHALLENGES: dict[str, str] = {
    "empty": "",
    "no scheme": '=,"',
    "no realm": 'Bearer service="hostile"',
    "open quote": 'Bearer realm="{url}/token',
    "foreign realm": 'Bearer realm="http://auth.invalid/token",service="hostile"',
    "link-local realm": 'Bearer realm="http://169.254.169.254/token",service="hostile"',
    "file realm": 'Bearer realm="file:///etc/passwd",service="hostile"',
    "relative realm": 'Bearer realm="/token",service="hostile"',
    "binary": "Bearer realm=\x80\xff\x01",
    "ten thousand": "Bearer " + ",".join(f'a{number}="{number}"' for number in range(10_000)),
}
"""WWW-Authenticate values that lead nowhere good; `{url}` stands for the registry's own address."""


class HostileRegistry(FakeRegistry):
    """An honest registry with exceptions.

    - `behaviours`: by kind, one of `ping`, `manifest`, `blob`, `tags`, `referrers`, `token`.
    - `methods`: which methods they are for.
    - `challenge`: if not None, resources want a token and say so with this header; with a behaviour for `token` it is
      set at the start to one that leads to the own `/token`. Any Authorization is good enough.
    - `refuses_unknown_tokens`: the status for an Authorization that the office did not issue or has revoked.
    """

    def __init__(self, behaviours: dict[str, Behaviour] | None = None, link: SlowLink | None = None) -> None:
        super().__init__(link)
        self.behaviours = dict(behaviours or {})
        self.methods = {"GET", "HEAD"}
        self.challenge = OWN_CHALLENGE if "token" in self.behaviours else None
        self.office = TokenOffice()
        self.refuses_unknown_tokens: int | None = None

    async def handle(self, seen: ReceivedRequest, wire: Wire) -> None:
        """Answer as told, or honestly."""
        behaviour = self.behaviours.get(kind_of(seen.path)) if seen.method in self.methods else None
        if behaviour is None or self._wants_token(seen):
            await super().handle(seen, wire)
            return
        await behaviour(Exchange(self, seen, wire, await self.answer(seen)))

    async def answer(self, seen: ReceivedRequest) -> Answer:
        """What an honest registry says, after its challenge."""
        if kind_of(seen.path) == "token":
            return self.office.issue(frozenset(asked_scopes(seen)))
        if self._wants_token(seen):
            value = (self.challenge or "").replace("{url}", self.url)
            return error(401, "UNAUTHORIZED", "authentication required", ("WWW-Authenticate", value))
        if self._refuses(seen):
            lines = () if self.challenge is None else (("WWW-Authenticate", self.challenge.replace("{url}", self.url)),)
            return error(self.refuses_unknown_tokens or 401, "DENIED", "the token is not valid", *lines)
        return await super().answer(seen)

    def _refuses(self, seen: ReceivedRequest) -> bool:
        given = seen.header("Authorization") is not None
        return self.refuses_unknown_tokens is not None and given and self.office.scopes_of(seen) is None

    def _wants_token(self, seen: ReceivedRequest) -> bool:
        return self.challenge is not None and kind_of(seen.path) != "token" and seen.header("Authorization") is None
