"""The caches and the images that they hold, laid out for 80 columns.

An image takes two lines, because its name alone may fill one: a table would break it in the middle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from obol.cli.terminal.caches import listeners_table
from obol.cli.terminal.present import Table, counted, size, span, tilde

if TYPE_CHECKING:
    from obol.caches.containers.engine import ContainerSeen
    from obol.caches.reachable import Substitute
    from obol.registry.control.api import EngineStatus, HeldImage, HeldPlatform, UpstreamStatus

NAMED = 3
"""Tags or platforms that are named; of more, only the number is shown."""


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
    return Table(("Upstream", "Health", ">Hits", ">Misses", ">Sent from cache", ">Fetched"), rows)


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


def images_lines(images: Sequence[HeldImage], now: float) -> list[str]:
    """What `cache ls` shows; `now` is in seconds since 1970."""
    lines = []
    for image in images:
        used = "never used" if image.used_at is None else f"used {span(now - image.used_at)} ago"
        lines += [_name(image), f"    {size(image.size)}, {used}, {_platforms(image.platforms)}: {_state(image)}"]
    incomplete = sum(not image.complete for image in images)
    return [*lines, "", counted(len(images), "image") + (f", {incomplete} of them incomplete" if incomplete else "")]


def _name(image: HeldImage) -> str:
    if not image.tags:
        return f"{image.registry}/{image.repository}@{image.digest}"
    others = [f":{tag}" for tag in image.tags[1:NAMED]]
    return ", ".join((f"{image.registry}/{image.repository}:{image.tags[0]}", *others, *more(image.tags)))


def _platforms(platforms: Sequence[HeldPlatform]) -> str:
    there = [one.platform or "one platform" for one in platforms if one.state != "absent"]
    if not there:
        return "no platform"
    named = ", ".join((*there[:NAMED], *more(there)))
    return named if len(there) == len(platforms) else f"{named} (of {len(platforms)} platforms)"


def _state(image: HeldImage) -> str:
    if image.complete:
        return "complete"
    if not image.platforms:
        return "only its name is known"
    if all(one.state == "absent" for one in image.platforms):
        return "only its index is there"
    return f"{counted(image.missing_blobs, 'blob')} missing ({size(image.missing_bytes)})"


def more(names: Sequence[str]) -> Iterable[str]:
    """How many names there are beyond those that are written, if there are any."""
    return [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []


def containers_parts(there: Sequence[ContainerSeen], root: str) -> list[str | Table]:
    """How the containers are, for people."""
    caches = [one for one in there if one.cache.upstream]
    answer = sum(one.state == "running" for one in caches)
    known = [one.content for one in there if one.content is not None]
    content = f"{counted(sum(one.count for one in known), 'blob')}, {size(sum(one.size for one in known))}"
    about = (
        ("Engine", f"containers, {answer} of {len(caches)} running" if caches else "no caches, a registry to push to"),
        ("Store", tilde(root)),
        ("Content", content if len(known) == len(there) else f"{content}, and what is not ours to count"),
    )
    return [*(f"{title:<9}{text}" for title, text in about), "", containers_table(there)]


def containers_table(there: Sequence[ContainerSeen]) -> Table:
    """A row for each container."""
    rows = tuple(
        (
            one.cache.registry,
            one.cache.name,
            f"{'127.0.0.1'}:{one.port}" if one.port else "",
            one.state
            if one.port in {0, one.cache.port} or not one.cache.port
            else f"{one.state}, not on {one.cache.port}",
            "?" if one.content is None else size(one.content.size),
        )
        for one in there
    )
    return Table(("Registry", "Container", "Address", "State", ">Holds"), rows)
