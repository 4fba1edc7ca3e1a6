"""How the descriptors that the system grants are divided: a part that takes all of them makes every other part fail.

A client takes three while it is sent a file: its connection, the file, and a second descriptor of the connection. A
transfer takes two: its connection and the file that it writes, and some need another connection for a moment.
"""

from __future__ import annotations

from dataclasses import dataclass

FIXED = 40
"""The store's directories and index, the log, the ports, the control socket, and what is opened for a moment."""
PER_CLIENT = 3
PER_TRANSFER = 3
MOST_CONNECTIONS = 1024
"""However many descriptors there are, each connection also takes memory."""
FEWEST = 4


@dataclass(frozen=True, slots=True)
class Shares:
    """Connections of clients, and connections to upstreams of one kind, at a time."""

    connections: int
    upstream: int
    unattended: int
    """Questions of one kind that no client waits for: manifests, heads, tags, lists, and blobs that are confirmed."""


def divide(files: int) -> Shares:
    """What a limit of open files has room for. The least of all is given also where it has none."""
    rest = max(0, files - FIXED)
    connections = min(MOST_CONNECTIONS, rest // 2 // PER_CLIENT)
    # There are two kinds: those that bring something, and those that stand still.
    upstream = rest // 2 // PER_TRANSFER // 2
    return Shares(max(FEWEST, connections), max(FEWEST, upstream), max(1, upstream // 4))
