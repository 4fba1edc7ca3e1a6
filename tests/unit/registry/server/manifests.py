"""Two images behind a port, and requests for them byte by byte."""

from obol.registry.server.connection import Connection
from tests.fakes.content import make_image
from tests.fakes.http import Reply
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually
from tests.unit.registry.server.serving import Serving

IMAGE = make_image(500, seed=1, platforms=("linux/amd64", "linux/arm64"))
OTHER = make_image(700, seed=2, platforms=("linux/amd64", "linux/arm64"))


def upstream() -> FakeUpstream:
    """An upstream with two images."""
    one = FakeUpstream()
    one.add("team/app", "v1", IMAGE)
    one.add("team/app", "v2", OTHER)
    return one


def get(tag: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    """The bytes of a request for a manifest."""
    head = [f"{method} /v2/team/app/manifests/{tag} HTTP/{version}", "Host: localhost", *lines]
    return "\r\n".join([*head, "", ""]).encode("ascii")


def parsed(s: Serving) -> int:
    """How many requests aiohttp has parsed."""
    return sum(listening.server.requests_count for listening in s.listeners._open.values())


def connections(s: Serving) -> list[Connection]:
    """What is connected."""
    found = [one for listening in s.listeners._open.values() for one in listening.server.connections]
    return [one for one in found if isinstance(one, Connection)]


async def handed_over(s: Serving) -> None:
    """Wait until aiohttp has been given something that is not answered yet."""
    await eventually(lambda: any(not one._between for one in connections(s) if one.transport is not None))


def same(*replies: Reply) -> bool:
    """Whether these are answers with the image's index."""
    return all((reply.status, reply.body) == (200, IMAGE.index.body) for reply in replies)
