"""A listener on loopback before an engine whose upstreams are scripted, and a client that keeps its connection."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from obol.machine.logs import Seldom
from obol.registry.control.api import Listener
from obol.registry.server.budget import Budget
from obol.registry.server.exchange import Shared
from obol.registry.server.handler import Handler, Page
from obol.registry.server.hosts import Hosts
from obol.registry.server.listeners import Listeners
from obol.registry.server.pages import healthz
from tests.fakes.http import Conversation, Reply, request
from tests.fakes.upstream import FakeUpstream
from tests.unit.registry.world import World, world


@dataclass
class Serving:
    """An engine that listens: one port per upstream."""

    world: World
    listeners: Listeners
    hosts: Hosts
    shared: Shared
    handlers: list[Handler] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def kept(self, at: int = 0) -> int:
        """How many keys of ready answers there are."""
        ready = self.handlers[at]._ready
        return len(ready._by_bytes) + len(ready._by_meaning)

    async def ask(
        self, method: str, target: str | bytes, *headers: tuple[str, str], at: int = 0, **options: Any
    ) -> Reply:
        """One request on a connection of its own."""
        return await request(self.ports[at], method, target, headers, **options)


@asynccontextmanager
async def serving(
    *upstreams: FakeUpstream, pages: Mapping[str, Page] | None = None, connections: int = 100, **settings: Any
) -> AsyncIterator[Serving]:
    """Build one; everything is closed at the end."""
    async with world(*upstreams, **settings) as built:
        hosts = Hosts(("cache.internal",))
        shown: dict[str, Page] = {"/healthz": healthz} if pages is None else dict(pages)

        def make(registry: str) -> Handler:
            handler = Handler(built.engine, registry, shown, shared)
            one.handlers.append(handler)
            return handler

        budget = Budget(built.engine.settings.answer_memory, built.clock.monotonic)
        limits = built.engine.settings.limits
        shared = Shared(hosts, budget, Seldom(built.clock), built.clock, limits, connections)
        listeners = Listeners(make, shared)
        one = Serving(built, listeners, hosts, shared)
        try:
            for scope in built.scopes:
                real = await listeners.add(Listener(scope.registry, "127.0.0.1", 0))
                one.ports.append(real.port)
            yield one
        finally:
            await listeners.close()


class Session:
    """One connection that is kept for request after request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader = reader
        self._writer = writer
        self._port = port

    async def ask(self, method: str, target: str, *headers: tuple[str, str], version: str = "1.1") -> Reply:
        """Send a request and read its answer."""
        fields = dict(headers)
        fields.setdefault("Host", f"127.0.0.1:{self._port}")
        lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return await self.answer(method)

    async def give(self, data: bytes) -> Reply:
        """Send bytes as they are, and read the next answer."""
        self.send(data)
        return await self.answer()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def leave(self) -> None:
        self._writer.transport.abort()

    async def answer(self, method: str = "GET") -> Reply:
        conversation = Conversation(self.reader, method, 0.0)
        await conversation.head()
        body, complete = await conversation.body()
        return Reply(conversation.status, conversation.headers, body, complete, 0.0)


@asynccontextmanager
async def session(port: int) -> AsyncIterator[Session]:
    """Open one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Session(reader, writer, port)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
