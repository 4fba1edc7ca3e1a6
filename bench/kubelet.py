"""A node that has nothing and pulls images as containerd does for a kubelet.

The manifests first, then three layers at a time, over connections of this image's own. Nothing is hashed or unpacked:
both take the same time wherever the bytes come from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from bench.clients import Client, together
from bench.content import Blob
from obol.oci.references import Digest

if TYPE_CHECKING:
    from bench.clients import Address
    from obol.oci.references import ImageReference

LAYERS_AT_ONCE = 3


def bring_up(images: Sequence[ImageReference], addresses: Mapping[str, Address], at_once: int) -> float:
    """Pull all images, so many at a time; the seconds that it took. Raises Failed, OSError."""
    since = time.perf_counter()
    with ThreadPoolExecutor(at_once) as threads:
        for pulled in [threads.submit(pull, image, addresses[image.registry]) for image in images]:
            pulled.result()
    return time.perf_counter() - since


def pull(image: ImageReference, address: Address) -> None:
    """Pull one image. Raises Failed, OSError."""
    with ExitStack() as connections:
        clients = [connections.enter_context(Client(address.port)) for _ in range(LAYERS_AT_ONCE)]
        wanted: SimpleQueue[str] = SimpleQueue()
        for path in _blobs(clients[0], image, address):
            wanted.put(path)
        together([partial(_drop, client, wanted) for client in clients])


def _blobs(client: Client, image: ImageReference, address: Address) -> list[str]:
    """Read the index and the manifest of an image; the paths of its configuration and layers."""
    index = json.loads(client.read(address.manifest(image.repository, image.tag or "latest")))
    chosen = index["manifests"][0]["digest"]
    manifest = json.loads(client.read(address.manifest(image.repository, chosen)))
    wanted = [manifest["config"], *manifest["layers"]]
    return [address.blob(Blob(image.repository, Digest(one["digest"]), one["size"])) for one in wanted]


def _drop(client: Client, wanted: SimpleQueue[str]) -> None:
    while True:
        try:
            path = wanted.get_nowait()
        except Empty:
            return
        client.drop(path)
