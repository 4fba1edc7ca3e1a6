"""Registries that lack what the specification leaves open: HEAD, ranges, referrers, numbers of tags."""

from dataclasses import replace

from tests.fakes.behaviours import Behaviour, Exchange
from tests.fakes.server import Answer, Pairs


def answers(status: int, headers: Pairs = (), body: bytes = b"") -> Behaviour:
    """Always this answer."""

    async def answering(exchange: Exchange) -> None:
        await exchange.say(Answer(status, headers, body))

    return answering


def refuses_ranges(status: int, after: int = 0) -> Behaviour:
    """This status to a Range request, after so many that are honoured; a plain request is answered honestly."""
    left = after

    async def refusing(exchange: Exchange) -> None:
        nonlocal left
        ranged = exchange.seen.header("Range") is not None
        left -= ranged
        await exchange.say(Answer(status) if ranged and left < 0 else exchange.honest)

    return refusing


def tells_by_head(*headers: tuple[str, str]) -> Behaviour:
    """200 with these header fields in place of the honest ones of the same name, to whoever asks by HEAD."""
    mine = {name.lower() for name, _ in headers}

    async def telling(exchange: Exchange) -> None:
        if exchange.seen.method != "HEAD":
            await exchange.say(exchange.honest)
            return
        kept = tuple(pair for pair in exchange.honest.headers if pair[0].lower() not in mine)
        await exchange.start(replace(exchange.honest, status=200, headers=(*kept, *headers)))

    return telling
