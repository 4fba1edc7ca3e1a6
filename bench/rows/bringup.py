"""What a user waits for: all images of the stack on a new node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.bench import say
from bench.kubelet import bring_up
from bench.measures import OURS, Chart, Row, Section, ahead, series_of
from bench.peers import available, fresh
from obol.demo.base import Link

if TYPE_CHECKING:
    from bench.bench import Bench
    from bench.content import BringUp
    from bench.peers import Name

PEERS: tuple[Name, ...] = ("registry", "drayage", "obol")
REGISTRIES = ("docker.io", "ghcr.io", "quay.io")
CONNECTION_SHARE = 4
LATENCY = 0.02
MIB = 1 << 20

_Found = dict[str, list[float]]


def bring_ups(bench: Bench) -> Section:
    """Direct, cold, warm and offline, one image at a time and three, at each rate."""
    rows: list[Row] = []
    charts = []
    for at_once in (1, 3):
        lines: dict[str, list[tuple[float, float]]] = {}
        for wanted in bench.scale.bring_ups:
            say(f"bring-up at {wanted.rate / 1e6:.0f} Mbit/s, {at_once} at a time")
            cold, warm, offline = _phases(bench, wanted, at_once)
            rows += [cold, warm, offline]
            for name, seconds in _points(cold, warm):
                lines.setdefault(name, []).append((wanted.rate / 1e6, seconds * 100e6 / wanted.size))
        charts.append(_chart(at_once, lines))
    text = (
        "The images of a stack, in the layer shapes of LiteLLM, Prometheus and what k3s brings along, scaled to what "
        "each link carries in seconds. Each connection gets a quarter of the link's rate; a round trip takes 20 ms. A "
        "node pulls one image at a time, as a kubelet does by default, or three; always three layers of each, over "
        "connections of that image's own. It neither hashes nor unpacks. Warm is the next day for the engine, which "
        "asks for every tag anew; drayage is left its default of trusting a tag for 15 minutes. Offline is warm with "
        "nobody listening on the upstream's port. The charts give seconds for 100 MB of images. Medians of "
        f"{bench.scale.bring_up_runs} runs."
    )
    return Section("Whole bring-up", text, tuple(rows), tuple(ahead(row.title, row) for row in rows), tuple(charts))


def _points(cold: Row, warm: Row) -> Iterator[tuple[str, float]]:
    """What the chart shows of one rate: every peer's cold pull, and the engine's warm one."""
    for series in cold.series:
        yield (series.peer if series.peer == "direct" else f"{series.peer}, cold"), series.median
    mine = warm.of(OURS)
    if mine is not None:
        yield f"{OURS}, warm", mine.median


def _chart(at_once: int, lines: dict[str, list[tuple[float, float]]]) -> Chart:
    how = "one image at a time" if at_once == 1 else f"{at_once} images at a time"
    named = tuple((name, tuple(points)) for name, points in lines.items())
    return Chart(f"bringup-{at_once}", f"100 MB of a stack's images, {how}", "Mbit/s", "seconds", named)


def _phases(bench: Bench, wanted: BringUp, at_once: int) -> tuple[Row, Row, Row]:
    bench.origin.slow(Link(wanted.rate, wanted.rate / CONNECTION_SHARE, LATENCY))
    found: tuple[_Found, _Found, _Found] = ({}, {}, {})
    for _ in range(bench.scale.bring_up_runs):
        _round(bench, wanted, at_once, found)
    where = f"{wanted.size / MIB:.0f} MiB at {wanted.rate / 1e6:.0f} Mbit/s, {at_once} at a time"
    cold, warm, offline = map(series_of, found)
    return (
        Row(f"cold, {where}", "s", "less", cold, "direct"),
        Row(f"warm, {where}", "s", "less", warm),
        Row(f"offline, {where}", "s", "less", offline),
    )


def _round(bench: Bench, wanted: BringUp, at_once: int, found: tuple[_Found, _Found, _Found]) -> None:
    """Cold and warm through each peer in turn; then the upstream is unplugged for all."""
    images = bench.content.stacks[wanted.rate]
    cold, warm, offline = found
    with ExitStack() as stack:
        running = {}
        for name in ("direct", *filter(available, PEERS)):
            site = replace(bench.site(registries=REGISTRIES), next_day=True)
            peer = stack.enter_context(fresh(name, site))
            cold.setdefault(name, []).append(bring_up(images, peer.addresses, at_once))
            if name != "direct":
                warm.setdefault(name, []).append(bring_up(images, peer.addresses, at_once))
                running[name] = peer
        with bench.origin.unplugged():
            for name, peer in running.items():
                offline.setdefault(name, []).append(bring_up(images, peer.addresses, at_once))
