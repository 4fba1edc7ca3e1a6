"""Many clients on one cold blob: how long, how often it crosses the line, and the memory that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.bench import know, say
from bench.clients import Client, herd
from bench.content import HERD, LAYER
from bench.measures import OURS, Chart, Row, Section, ahead, at_most
from bench.peers import available, fresh
from bench.rows.cold import LIMITED

if TYPE_CHECKING:
    from bench.bench import Bench
    from bench.content import Blob
    from bench.measures import Series
    from bench.peers import Name

MIB = 1 << 20
MANY = 16
PEERS: tuple[Name, ...] = ("nginx cache", "registry", "drayage", "obol")


def herds(bench: Bench) -> Section:
    """All peers with herds of several sizes on one blob; the engine alone with a herd on the large layer."""
    (blob,) = bench.content.layers(HERD)
    (layer,) = bench.content.layers(LAYER)
    bench.origin.slow(LIMITED)
    found = {count: _herd(bench, blob, count, _names(count)) for count in bench.scale.herds}
    one, many = (_herd(bench, layer, count, (OURS,)) for count in (1, MANY))
    times, copies = many[0].of(OURS), many[1].of(OURS)
    assert times is not None
    assert copies is not None
    alone = one[0].series[0].median
    size = f"{layer.size >> 20} MiB"
    goals = (
        at_most(f"{MANY} clients on {size}, against one", times.median / alone, 1.1, target="≤ 1.10 ×"),
        at_most(f"{MANY} clients on {size}, upstream bytes", max(copies.values), 1.0, target="1.00 ×"),
        *(ahead(rows[0].title, rows[0]) for rows in found.values()),
    )
    text = (
        "So many clients ask for the same cold blob at once, over a link of 800 Mbit/s, 200 Mbit/s a connection and "
        "20 ms. Upstream bytes are what the origin sent, in multiples of the blob; memory is the high-water mark of "
        f"the server's processes. registry fetches once for each client; herds of more than {MANY} are not tried on it."
    )
    rows = tuple(row for rows in (*found.values(), one, many) for row in rows)
    return Section("Herds", text, rows, goals, _charts(found, blob))


def _names(count: int) -> tuple[Name, ...]:
    wanted = PEERS if count <= MANY else tuple(name for name in PEERS if name != "registry")
    return tuple(filter(available, wanted))


def _herd(bench: Bench, blob: Blob, count: int, names: tuple[Name, ...]) -> tuple[Row, Row, Row]:
    """Seconds, upstream bytes in multiples of the blob, and MiB of memory."""
    say(f"herd of {count} on {blob.size >> 20} MiB")

    def measure(name: Name) -> tuple[float, ...]:
        with fresh(name, bench.site()) as peer:
            with Client(peer.hub.port) as client:
                know(client, peer.hub, blob)
            before = bench.origin.counts()
            seconds = herd(peer.hub, blob, count)
            sent = bench.origin.counts().since(before).size
            return seconds, sent / blob.size, peer.peak_memory() / MIB

    times, copies, memory = bench.interleaved(names, measure)
    what = f"{count} client{'s' if count > 1 else ''} on one cold blob of {blob.size >> 20} MiB"
    return (
        Row(what, "s", "less", times),
        Row(f"{what}: upstream bytes", "× the blob", "less", copies),
        Row(f"{what}: memory", "MiB", "less", memory),
    )


def _charts(found: dict[int, tuple[Row, Row, Row]], blob: Blob) -> tuple[Chart, ...]:
    size = f"{blob.size >> 20} MiB"
    kinds = (
        ("herd-time", f"A herd on one cold blob of {size}", "seconds"),
        ("herd-upstream", f"What a herd on {size} costs the upstream", "times the blob"),
        ("herd-memory", f"Memory of the server with a herd on {size}", "MiB"),
    )
    return tuple(
        Chart(name, title, "clients", unit, _lines({count: rows[number] for count, rows in found.items()}))
        for number, (name, title, unit) in enumerate(kinds)
    )


def _lines(rows: dict[int, Row]) -> tuple[tuple[str, tuple[tuple[float, float], ...]], ...]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for count, row in rows.items():
        series: Series
        for series in row.series:
            lines.setdefault(series.peer, []).append((count, series.median))
    return tuple((name, tuple(points)) for name, points in lines.items())
