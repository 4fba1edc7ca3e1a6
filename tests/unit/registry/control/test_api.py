from pathlib import Path

import msgspec
import pytest

from obol.registry.control.api import Amount, EngineStatus, Listener, RateLimit, RequestCounts, gives_way
from tests.fakes.control import status_body


def test_status_is_decoded() -> None:
    """What the engine answers becomes values."""
    found = msgspec.json.decode(status_body(Path("/s"), ports={"ghcr.io": 54101}), type=EngineStatus)

    assert found.listeners == (Listener("ghcr.io", "127.0.0.1", 54101),)
    assert found.content == Amount(1234, 12 << 30)
    assert found.upstreams[0].requests == RequestCounts(12000, 3, 1, 2)
    assert found.upstreams[0].ratelimit == RateLimit(100, 76)


def test_newer_engine() -> None:
    """What a newer engine adds, and what an older one leaves out, does no harm."""
    body = msgspec.json.decode(status_body(Path("/s")))
    body["weather"] = "fine"
    body["upstreams"] = [{"registry": "a.io", "url": "https://a", "health": "unknown"}]

    found = msgspec.convert(body, EngineStatus)

    assert found.upstreams[0].requests == RequestCounts()
    assert found.fills == 0


def test_json() -> None:
    """The JSON has the names that scripts rely on."""
    status = EngineStatus(
        version="0.1",
        pid=42,
        store="/store",
        started_at=1.5,
        offline=False,
        content=Amount(1, 2),
        partials=Amount(0, 0),
        listeners=(Listener("docker.io", "::1", 5),),
        upstreams=(),
    )

    assert msgspec.json.decode(msgspec.json.encode(status)) == {
        "version": "0.1",
        "pid": 42,
        "store": "/store",
        "started_at": 1.5,
        "offline": False,
        "content": {"count": 1, "size": 2},
        "partials": {"count": 0, "size": 0},
        "listeners": [{"registry": "docker.io", "address": "::1", "port": 5}],
        "upstreams": [],
        "fills": 0,
        "store_state": "ok",
        "store_detail": "",
    }


@pytest.mark.parametrize(
    ("engine", "command", "fills", "expected"),
    [
        ("0.1.0", "0.1.0", 0, False),
        ("0.1.0", "0.2.0", 0, True),
        ("0.1.0", "0.2.0", 1, False),
        ("0.9.0", "0.10.0", 0, True),
        ("0.10.0", "0.9.0", 0, False),
        ("1.0.0", "1.0.0.dev3", 0, False),
        ("", "0.1.0", 0, True),
        ("of tomorrow", "", 0, False),
    ],
)
def test_which_engine_gives_way(engine: str, command: str, fills: int, *, expected: bool) -> None:
    """An older engine gives way to a newer command, unless it fetches something; a newer one never does."""
    body = msgspec.json.decode(status_body(Path("/s"))) | {"version": engine, "fills": fills}

    assert gives_way(msgspec.convert(body, EngineStatus), command) == expected
