"""All is there: blobs by sendfile, manifests from memory."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING

from bench.bench import know, say
from bench.clients import Client, herd
from bench.content import LAYER
from bench.measures import OURS, Row, Section, ahead, at_least, at_most, series_of
from bench.origin import UNSHAPED
from bench.peers import HITS, available, fresh, program

if TYPE_CHECKING:
    from bench.bench import Bench
    from bench.peers import Name, Running

GIB = 1 << 30
CLIENTS = (1, 8)
SETTLE = 2.0
"""Seconds in which what was just fetched may be written to the disk."""
_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_P99 = re.compile(r"99%\s+([0-9.]+)(us|ms|s)")
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def warm(bench: Bench) -> Section:
    """Throughput and processor time of blobs that are held."""
    bench.origin.slow(UNSHAPED)
    (layer,) = bench.content.layers(LAYER)
    with bench.together((*HITS, "nginx reno")) as peers:
        for peer in peers.values():
            with Client(peer.hub.port) as client:
                know(client, peer.hub, layer)
            herd(peer.hub, layer, 1)
        time.sleep(SETTLE)
        measured = {clients: _throughput(bench, peers, clients) for clients in CLIENTS}
    one, cpu = measured[1]
    eight, cpu_eight = measured[8]
    goals = (
        at_least("warm blob, 1 client, against nginx", one.ratio(OURS, "nginx"), 0.95, target="≥ 0.95 ×"),
        at_least("warm blob, 8 clients, against nginx", eight.ratio(OURS, "nginx"), 0.95, target="≥ 0.95 ×"),
        ahead("warm blob, 1 client", one),
        ahead("warm blob, 8 clients", eight),
        at_most("processor time per GiB, 1 client, against nginx", cpu.ratio(OURS), 1.4, target="≤ 1.4 ×"),
        at_most("processor time per GiB, 8 clients, against nginx", cpu_eight.ratio(OURS), 1.4, target="≤ 1.4 ×"),
    )
    text = (
        f"A layer of {layer.size >> 20} MiB that every peer holds, read again and again over connections that are "
        "kept. The clients let the kernel drop what arrives. nginx serves the same file by sendfile: the practical "
        "limit. It has the machine's congestion control, as every peer but obol; *nginx reno* has the one that obol "
        "chooses for its own connections, so it tells what is left of the difference when that is taken away."
    )
    rows = tuple(row for pair in measured.values() for row in pair)
    return Section("Warm blobs", text, rows, goals)


def _throughput(bench: Bench, peers: dict[Name, Running], clients: int) -> tuple[Row, Row]:
    """Bytes per second, and the processor time that they took."""
    say(f"warm blobs, {clients} clients")
    (layer,) = bench.content.layers(LAYER)
    times = max(1, bench.scale.volume // layer.size // clients)

    def measure(name: Name) -> tuple[float, ...]:
        before = peers[name].cpu()
        seconds, read = 0.0, 0.0
        while seconds < bench.scale.read_seconds:
            seconds += herd(peers[name].hub, layer, clients, times=times)
            read += layer.size * clients * times / GIB
        return read / seconds, (peers[name].cpu() - before) / read

    rates, costs = bench.interleaved(list(peers), measure, bench.scale.warm_runs)
    title = f"warm blob, {clients} client{'s' if clients > 1 else ''}"
    return (
        Row(title, "GiB/s", "more", rates, "nginx"),
        Row(f"{title}: processor time of the server", "s/GiB", "less", costs, "nginx"),
    )


def manifests(bench: Bench) -> Section:
    """Requests per second for a tag that is held, on one processor; wrk has the other."""
    bench.origin.slow(UNSHAPED)
    (layer,) = bench.content.layers(LAYER)
    rates: dict[Name, list[float]] = {}
    tails: dict[Name, list[float]] = {}
    asked = 0
    for name in filter(available, HITS):
        say(f"manifests, {name}")
        with fresh(name, bench.site(pinned_to=0)) as peer:
            with Client(peer.hub.port) as client:
                know(client, peer.hub, layer)
            before = bench.origin.counts()
            for _ in range(bench.scale.runs):
                rate, tail = _wrk(peer, layer.repository, bench.scale.rate_seconds)
                rates.setdefault(name, []).append(rate)
                tails.setdefault(name, []).append(tail)
            if name == OURS:
                asked = bench.origin.counts().since(before).requests
    rate_row = Row("manifest by tag, one processor", "requests/s", "more", series_of(rates), "nginx")
    tail_row = Row("its 99th percentile", "ms", "less", series_of(tails))
    mine, tail_mine = rate_row.of(OURS), tail_row.of(OURS)
    assert mine is not None
    assert tail_mine is not None
    goals = (
        at_least("manifests by tag", mine.median, 30_000, target="≥ 30,000 requests/s", form="{:,.0f}"),
        ahead("manifests by tag", rate_row),
        at_most("99th percentile", tail_mine.median, 3.0, target="< 3 ms", form="{:.2f} ms"),
        at_most("upstream requests meanwhile", asked, 0, target="none", form="{:.0f}"),
    )
    text = "The server on one processor, wrk with 16 connections on the other, a tag inside its time."
    return Section("Manifests", text, (rate_row, tail_row), goals)


def _wrk(peer: Running, repository: str, seconds: int) -> tuple[float, float]:
    url = f"http://127.0.0.1:{peer.hub.port}{peer.hub.manifest(repository, '1')}"
    argv = ["taskset", "-c", "1", program("wrk"), "-t1", "-c16", f"-d{seconds}", "--latency", url]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 30).stdout
    rate, tail = _RATE.search(said), _P99.search(said)
    assert rate is not None
    assert tail is not None
    return float(rate[1]), float(tail[1]) * _UNITS[tail[2]]
