"""What grows: memory with clients, start and hits with the store."""

from __future__ import annotations

import shutil
import time
from statistics import median
from typing import TYPE_CHECKING

from bench.bench import say
from bench.clients import Client, crowd
from bench.filling import ASKED, asked, blob_of, fill
from bench.measures import OURS, Chart, Row, Section, Series, ahead, at_most
from bench.origin import UNSHAPED
from bench.peers import available, fresh, serving

if TYPE_CHECKING:
    from bench.bench import Bench
    from bench.peers import Name, Running, Site

MIB = 1 << 20
CLIENTS = 64
PEERS: tuple[Name, ...] = ("registry", "drayage", "obol")


def memory(bench: Bench) -> Section:
    """The most memory that a server used, with many clients on a huge blob that it is fetching."""
    bench.origin.slow(UNSHAPED)
    huge, seconds = bench.content.huge, bench.scale.crowd_seconds
    peaks = []
    for name in filter(available, PEERS):
        say(f"memory, {name}")
        with fresh(name, bench.site()) as peer:
            crowd(peer.hub, huge, CLIENTS, seconds)
            peaks.append(Series(name, (peer.peak_memory() / MIB,)))
    row = Row(f"peak memory, {CLIENTS} clients on a cold blob of {huge.size >> 20} MiB", "MiB", "less", tuple(peaks))
    mine = row.of(OURS)
    assert mine is not None
    goal = at_most(f"peak memory, {CLIENTS} clients", mine.median, 150, target="< 150 MiB", form="{:.0f} MiB")
    text = (
        "The high-water mark of resident memory, as the kernel counts it, once. The origin is not slowed; the clients "
        f"read for {seconds:.0f} s, and leave then if they are not done."
    )
    return Section("Memory", text, (row,), (goal,))


def stores(bench: Bench) -> Section:
    """Start, and the cost of a first hit, with few and with many blobs in the store."""
    starts: dict[int, Row] = {}
    hits: dict[int, Row] = {}
    for count in bench.scale.stores:
        say(f"a store of {count:,} blobs")
        starts[count], hits[count] = _store(bench, count)
    few, many = bench.scale.stores[0], bench.scale.stores[-1]
    begun, grown, first = starts[many].of(OURS), hits[many].of(OURS), hits[few].of(OURS)
    assert begun is not None
    assert grown is not None
    assert first is not None
    goals = (
        at_most(f"start with {many:,} blobs", begun.median, 1.0, target="< 1 s", form="{:.2f} s"),
        at_most(
            f"a hit among {many:,} blobs, against {few}",
            grown.median / first.median,
            1.25,
            target="the same (≤ 1.25 ×)",
        ),
        *(ahead(row.title, row) for row in hits.values()),
    )
    charts = (
        _chart("start", "Start to the first answer", "s", starts),
        _chart("hit", "The first hit of a small blob", "ms", hits),
    )
    text = (
        f"Stores of small blobs, written as each server would have left them. A start ends with the first answer of "
        f"any kind. A hit is a GET over a kept connection; each of {ASKED} asks for another blob, which this process "
        "has not served before. A value is the median of these, and was taken after a start."
    )
    return Section("Large stores", text, (*starts.values(), *hits.values()), goals, charts)


def _store(bench: Bench, count: int) -> tuple[Row, Row]:
    sites: dict[Name, Site] = {name: bench.site() for name in filter(available, PEERS)}
    for name, site in sites.items():
        fill(name, site, count)

    def measure(name: Name) -> tuple[float, ...]:
        with serving(name, sites[name]) as peer:
            return peer.servers[0].started_in, _hit(peer, count)

    begun, cost = bench.interleaved(tuple(sites), measure)
    for site in sites.values():
        shutil.rmtree(site.folder)
    return (
        Row(f"start with {count:,} blobs", "s", "less", begun),
        Row(f"first hit among {count:,} blobs", "ms", "less", cost),
    )


def _hit(peer: Running, count: int) -> float:
    """Milliseconds, the median over many different blobs."""
    taken = []
    with Client(peer.hub.port) as client:
        client.read("/v2/")
        for number in asked(count):
            path = peer.hub.blob(blob_of(number))
            since = time.perf_counter()
            client.read(path)
            taken.append((time.perf_counter() - since) * 1000)
    return median(taken)


def _chart(name: str, title: str, unit: str, rows: dict[int, Row]) -> Chart:
    lines: dict[str, list[tuple[float, float]]] = {}
    for count, row in rows.items():
        for series in row.series:
            lines.setdefault(series.peer, []).append((count, series.median))
    return Chart(
        name, title, "blobs in the store", unit, tuple((peer, tuple(points)) for peer, points in lines.items())
    )
