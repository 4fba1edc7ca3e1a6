"""What the cache engine says of itself, laid out for 80 columns."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from obol.cli.results.cache import CacheContainer
from obol.cli.terminal.present import Table, counted, size, span, tilde
from obol.machine.ports import bracketed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.ports import Started, Substitute
    from obol.registry.control.api import EngineStatus, UpstreamStatus


def engine_parts(engine: EngineStatus, substitutes: Iterable[Substitute], now: float) -> list[str | Table]:
    """Everything: the engine, where it listens, how its upstreams do. `now` is in seconds since 1970."""
    since = datetime.fromtimestamp(engine.started_at).astimezone()
    offline = ", offline" if engine.offline else ""
    content = f"{counted(engine.content.count, 'blob')}, {size(engine.content.size)}"
    if engine.partials.count:
        content += f"; {size(engine.partials.size)} of {counted(engine.partials.count, 'unfinished blob')}"
    if engine.fills:
        content += f"; {engine.fills:,} being fetched"
    about = (
        ("Engine", f"running since {since:%Y-%m-%d %H:%M} ({span(now - engine.started_at)}){offline}"),
        ("Process", f"{engine.pid} (obol {engine.version})"),
        ("Store", tilde(engine.store) + (f" ({engine.store_state})" if engine.store_state != "ok" else "")),
        ("Content", content),
    )
    lines = [f"{title:<9}{text}" for title, text in about]
    notes = [note for upstream in engine.upstreams for note in _upstream_notes(upstream)]
    if engine.store_state != "ok":
        notes.append(f"The store is {engine.store_state}: clients get what they pull, and the cache does not keep it.")
        notes.append(f"  why: {engine.store_detail}; free some space there, or set OBOL_REGISTRY_CACHE_DIR")
    return [*lines, "", listeners_table(engine, substitutes), "", _upstreams_table(engine.upstreams), *notes]


def listeners_table(engine: EngineStatus, substitutes: Iterable[Substitute]) -> Table:
    """Where the engine listens, and for which registry."""
    instead = {(substitute.registry, substitute.port): substitute for substitute in substitutes if substitute.wanted}
    rows = []
    for listener in engine.listeners:
        # Once, though the registry is served by that port on several addresses.
        substitute = instead.pop((listener.registry, listener.port), None)
        note = _why_not(substitute) if substitute else ""
        rows.append((listener.registry, f"http://{bracketed(listener.address)}:{listener.port}", note))
    if not any(note for _registry, _address, note in rows):
        return Table(("Registry", "Address"), tuple(row[:2] for row in rows))
    return Table(("Registry", "Address", ""), tuple(rows))


def container_result(seen: ContainerSeen) -> CacheContainer:
    """A cache container that is there, for programs."""
    state = "failing" if seen.state == "absent" else seen.state
    return CacheContainer(seen.cache.name, seen.cache.registry, state, seen.port or None, seen.content)


def start_warnings(started: Started) -> list[str]:
    """Where what runs is not what was asked for, line by line."""
    lines = [f"warning: {substitute_note(one)}" for one in started.substitutes if one.wanted]
    if started.differs:
        lines.append("warning: the engine that runs differs from what you asked for:")
        lines += [f"  - {difference}" for difference in started.differs]
        lines.append("To change it: obol cache stop, then obol cache start with these options")
    return lines


def substitute_note(substitute: Substitute) -> str:
    """A few words on a port that is not the usual one."""
    return f"port {_why_not(substitute)}: {substitute.registry} is served on port {substitute.port} instead"


def moved_note(substitute: Substitute) -> str:
    """The same in fewer words."""
    return f"{substitute.registry} on {substitute.port} ({_why_not(substitute, 'taken')})"


def _why_not(substitute: Substitute, held: str = "held") -> str:
    if substitute.free:
        return f"{substitute.wanted} was {held}, and is free again"
    return f"{substitute.wanted} is {held} by {substitute.holder or 'another process'}"


def _upstreams_table(upstreams: Iterable[UpstreamStatus]) -> Table:
    rows = tuple(
        (
            upstream.registry,
            "not asked yet" if upstream.health == "unknown" else upstream.health,
            f"{upstream.requests.hit:,}",
            f"{upstream.requests.miss:,}",
            size(upstream.bytes_from_cache),
            size(upstream.bytes_from_upstream),
        )
        for upstream in upstreams
    )
    return Table(("Upstream", "Health", ">Hits", ">Misses", ">From cache", ">From upstream"), rows)


def _upstream_notes(upstream: UpstreamStatus) -> list[str]:
    """What does not fit in a row, one line each."""
    found = []
    if upstream.health in {"failing", "rate-limited"}:
        again = f"; asked again in {span(upstream.retry_after)}" if upstream.retry_after else ""
        found.append(f"{upstream.detail or upstream.health}{again}")
    if upstream.requests.stale or upstream.requests.error:
        found.append(f"{counted(upstream.requests.stale, 'request')} served stale, {upstream.requests.error:,} refused")
    budget = upstream.ratelimit
    if budget is not None and budget.remaining is not None:
        allowed = "" if budget.limit is None else f" of {budget.limit:,}"
        found.append(f"{budget.remaining:,}{allowed} pulls left")
    return [f"{upstream.registry}: {note}" for note in found]
