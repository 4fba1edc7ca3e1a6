"""The builtin engine: its store, upstreams, ports and control socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import obol
from obol.machine import logs
from obol.machine.clock import Clock, SystemClock
from obol.machine.system import allow_many_open_files, open_files_limit, return_large_pieces
from obol.machine.tasks import spawn
from obol.registry.control.api import EngineStatus, Listener
from obol.registry.control.openports import Measuring, RememberedPorts
from obol.registry.control.server import ControlServer, Views
from obol.registry.engine.accounts import upstream_status
from obol.registry.engine.engine import Engine
from obol.registry.engine.scopes import Scope
from obol.registry.engine.storehealth import disk_space
from obol.registry.policy.shares import Shares, divide
from obol.registry.server.budget import Budget
from obol.registry.server.exchange import Shared
from obol.registry.server.handler import Handler
from obol.registry.server.hosts import Hosts
from obol.registry.server.listeners import Listeners
from obol.registry.server.pages import healthz, metrics
from obol.registry.store.disk.opening import DiskStore, open_store
from obol.registry.store.layout import SOCKET
from obol.registry.store.ports import StoreError
from obol.registry.upkeep.graph import Graph
from obol.registry.upkeep.inventory import take_inventory
from obol.registry.upstream.client import RegistryUpstream
from obol.registry.upstream.slots import Share, SlotPool

if TYPE_CHECKING:
    from obol.registry.control.api import Inventory
    from obol.registry.settings import EngineSettings

HASH_THREADS = 2


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """An engine that listens."""

    engine: Engine
    listeners: Listeners
    store: DiskStore
    started_at: float

    async def status(self, hidden: Callable[[Listener], bool] | None = None) -> EngineStatus:
        """What runs and what it did, without the ports that are of one `up` only."""
        shown = [one for one in self.listeners.list() if hidden is None or not hidden(one)]
        now = self.engine.clock.monotonic()
        store_state, store_detail = self.engine.blobs.store_health.state(disk_space(self.store.root))
        return EngineStatus(
            store_state=store_state,
            store_detail=store_detail,
            version=obol.__version__,
            pid=os.getpid(),
            store=str(self.store.root),
            started_at=self.started_at,
            offline=self.engine.settings.offline,
            fills=self.engine.transfers,
            content=await self.store.content.usage(),
            partials=await self.store.partials.usage(),
            listeners=tuple(shown),
            upstreams=tuple(upstream_status(scope, now) for scope in self.engine.scopes),
        )

    async def images(self) -> Inventory:
        """The images that are held, with what was served up to now. Raises StoreError."""
        await self.engine.flush_uses()
        return await take_inventory(self.store)


@asynccontextmanager
async def running_engine(settings: EngineSettings, clock: Clock | None = None) -> AsyncIterator[RunningEngine]:
    """An engine on its ports, without a control socket; stopped, gently, at the end of the block.

    Raises StoreInUse, StoreUnusable, PortTaken.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(partial(open_store, settings.store, any_owner=settings.local_names))
        stack.push_async_callback(store.close)
        await store.partials.sweep()
        threads = ThreadPoolExecutor(HASH_THREADS, thread_name_prefix="obol-hash")
        stack.callback(threads.shutdown)
        shares = divide(open_files_limit())
        scopes = _scopes(settings, shares, clock, stack)
        settings = replace(settings, unattended=min(settings.unattended, shares.unattended))
        engine = Engine(settings, scopes, store, clock, threads)
        stack.push_async_callback(engine.close)
        engine.start()
        shared = Shared(
            hosts=Hosts(settings.server_names, local=settings.local_names),
            budget=Budget(settings.answer_memory, clock.monotonic),
            seldom=logs.Seldom(clock),
            clock=clock,
            limits=settings.limits,
            connections=shares.connections,
        )
        running: RunningEngine

        async def scrape() -> tuple[int, str, bytes]:
            ended = {scope.registry: scope.counters.ended_badly() for scope in engine.scopes}
            return await asyncio.to_thread(metrics, await running.status(), ended)

        def handler(registry: str) -> Handler:
            return Handler(engine, registry, {"/healthz": healthz, "/metrics": scrape}, shared)

        listeners = Listeners(handler, shared)
        stack.push_async_callback(listeners.close)
        running = RunningEngine(engine, listeners, store, clock.wall())
        for wanted in settings.listeners:
            await listeners.add(wanted)
        catching_up = spawn(_catch_up(store), name="edges")
        stack.push_async_callback(asyncio.wait, [catching_up])
        stack.callback(catching_up.cancel)
        yield running


async def _catch_up(store: DiskStore) -> None:
    """Make up for the edges that an older version did not store; what fails is left for the next start."""
    with suppress(StoreError):
        await Graph(store).catch_up()


def _scopes(settings: EngineSettings, shares: Shares, clock: Clock, stack: AsyncExitStack) -> tuple[Scope, ...]:
    fill = settings.fill
    pool = SlotPool(
        several=_within(shares, fill.connections_per_upstream, fill.connections_overall),
        firsts=_within(shares, fill.firsts_per_upstream, fill.firsts_overall),
        lent=_within(shares, fill.quiet_per_upstream, fill.quiet_overall),
    )
    allowed = frozenset(settings.allowed_hosts)
    scopes = []
    for one in settings.upstreams:
        upstream = RegistryUpstream(one, settings.limits, allowed, pool.of(one.registry), clock)
        stack.push_async_callback(upstream.close)
        scopes.append(Scope(one.registry, upstream))
    return tuple(scopes)


def _within(shares: Shares, each: int, overall: int) -> Share:
    return Share(min(each, shares.upstream), min(overall, shares.upstream))


async def _serve(settings: EngineSettings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    registries = frozenset(one.registry for one in settings.upstreams)
    async with running_engine(settings) as running:
        ports = RememberedPorts(running.listeners, running.store.root, registries)
        await ports.reopen()
        engine = running.engine
        measuring = Measuring(engine.open_account, engine.accounts, running.listeners, engine.clock)

        async def status() -> EngineStatus:
            return await running.status(hidden=measuring.owns)

        views = Views(status, running.images, engine.progress)
        control = ControlServer(views, ports.add, registries, stopping.set, measuring)
        await control.start(running.store.root / SOCKET)
        for one in running.listeners.list():
            logs.get().info("listening", registry=one.registry, address=one.address, port=one.port)
        _spare_the_collector()
        try:
            await stopping.wait()
        finally:
            await control.close()
            await measuring.end()


def _spare_the_collector() -> None:
    """Keep what is there for good out of each collection: to look at all modules again holds everybody for 50 ms."""
    gc.collect()
    gc.freeze()


def serve(settings: EngineSettings, *, log_format: str = "human", log_level: int = logging.INFO) -> int:
    """Run the engine in the foreground until SIGTERM, SIGINT or the order to stop; the exit code.

    `log_level` is one of `logging`. Raises ObolError where it cannot start.
    """
    logs.configure(log_format, log_level)
    logs.hide_words_of_libraries(logs.Seldom(SystemClock()))
    allow_many_open_files()
    return_large_pieces()
    asyncio.run(_serve(settings))
    return 0
