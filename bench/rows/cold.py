"""Nothing is there: a cold pull through each cache against a direct one, over the slowed link."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.bench import know, say
from bench.clients import Client, together
from bench.content import FIVE, LAYER
from bench.measures import OURS, Row, Section, ahead, at_most
from bench.peers import fresh
from obol.demo.base import Link

if TYPE_CHECKING:
    from bench.bench import Bench
    from bench.clients import Address
    from bench.content import Blob
    from bench.measures import Goal
    from bench.peers import Name

LIMITED = Link(800e6, 200e6, 0.02)
UNLIMITED = Link(800e6, 800e6, 0.02)
LAYERS_AT_ONCE = 3
PULLS: tuple[Name, ...] = ("direct", "registry", "drayage", "obol")


def cold(bench: Bench) -> Section:
    """First byte and whole of a large layer, and an image of five, with and without a limit for each connection."""
    limited_first, limited = _layer(bench, LIMITED, "200 Mbit/s a connection", PULLS)
    first, unlimited = _layer(bench, UNLIMITED, "no limit a connection", ("nginx cache", *PULLS))
    image = _image(bench, LIMITED, "200 Mbit/s a connection")
    unlimited_image = _image(bench, UNLIMITED, "no limit a connection")
    rows = (first, limited_first, limited, unlimited, image, unlimited_image)
    goals: tuple[Goal, ...] = (
        _lag("cold first byte, later than direct", first),
        _lag("cold first byte, limited connections, later than direct", limited_first),
        at_most("cold layer, limited connections, against direct", limited.ratio(OURS), 0.30, target="≤ 0.30 ×"),
        at_most("cold image of five layers, against direct", image.ratio(OURS), 0.55, target="≤ 0.55 ×"),
        at_most("cold layer, no limit, against direct", unlimited.ratio(OURS), 1.02, target="≤ 1.02 ×", form="{:.3f}"),
        *(ahead(row.title, row) for row in rows),
    )
    (layer,) = bench.content.layers(LAYER)
    sizes = ", ".join(f"{blob.size >> 20}" for blob in bench.content.layers(FIVE))
    text = (
        "The origin sends at most 800 Mbit/s in all and, where it says so, 200 Mbit/s to each connection; a round trip "
        "takes 20 ms. Every peer has just been started over an empty store. A client asks for the manifests, then for "
        f"the blob over the same connection, also where there is no cache. The layer has {layer.size >> 20} MiB; the "
        f"image has layers of {sizes} MiB, three at a time over a connection each."
    )
    return Section("Cold pulls", text, rows, goals)


def _lag(work: str, row: Row) -> Goal:
    mine, direct = row.of(OURS), row.of("direct")
    assert mine is not None
    assert direct is not None
    return at_most(work, mine.median - direct.median, 3.0, target="≤ 3 ms", form="{:.1f} ms")


def _layer(bench: Bench, link: Link, limit: str, names: tuple[Name, ...]) -> tuple[Row, Row]:
    say(f"cold layer, {limit}")
    (layer,) = bench.content.layers(LAYER)
    bench.origin.slow(link)

    def measure(name: Name) -> tuple[float, ...]:
        with fresh(name, bench.site()) as peer, Client(peer.hub.port) as client:
            know(client, peer.hub, layer)
            fetched = client.drop(peer.hub.blob(layer))
            return fetched.first * 1000, fetched.seconds

    firsts, wholes = bench.interleaved(names, measure)
    return (
        Row(f"first byte of a cold layer, {limit}", "ms", "less", firsts, "direct"),
        Row(f"cold layer, {limit}", "s", "less", wholes, "direct"),
    )


def _image(bench: Bench, link: Link, limit: str) -> Row:
    title = f"cold image of five layers, {limit}"
    say(title)
    blobs = bench.content.layers(FIVE)
    bench.origin.slow(link)

    def measure(name: Name) -> tuple[float, ...]:
        with fresh(name, bench.site()) as peer:
            return (_several(blobs, peer.hub),)

    (series,) = bench.interleaved(PULLS, measure)
    return Row(title, "s", "less", series, "direct")


def _several(blobs: tuple[Blob, ...], address: Address) -> float:
    """Seconds for the layers of an image whose manifests have been read."""
    waiting = [address.blob(blob) for blob in reversed(blobs)]
    with Client(address.port) as client:
        know(client, address, blobs[0])
    return together([partial(_drop_all, waiting, address)] * LAYERS_AT_ONCE)[0]


def _drop_all(waiting: list[str], address: Address) -> None:
    with Client(address.port) as client:
        while waiting:
            client.drop(waiting.pop())
