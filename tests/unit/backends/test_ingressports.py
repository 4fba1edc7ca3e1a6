from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from obol.backends.ingressports import choose, listens
from obol.rendering.k3d import WANTED_PORTS, Published
from tests.fakes.k3dstack import FakePorts

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:01BB 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
"""


def test_all_free() -> None:
    """What is free is published, and there is nothing to tell."""
    ports = FakePorts()

    assert choose(ports, ports.listens) == (tuple(Published(*one) for one in WANTED_PORTS), ())


def test_busy() -> None:
    """Busy ports are dropped with a note, those that cannot be tried too; one is chosen where none is left."""
    ports = FakePorts(busy={443, 8443}, privileged={80})

    published, notes = choose(ports, ports.listens)

    assert published == (Published(8080, 80), Published(41000, 443))
    assert notes == (
        "Port 80 is taken by nginx (pid 7): use 8080 instead.",
        "Port 443 is taken: use 41000 instead.",
        "Port 8443 is taken: use 41000 instead.",
    )


@pytest.mark.parametrize(("port", "expected"), [(80, True), (443, False), (8080, False)])
def test_listens(tmp_path: Path, port: int, expected: bool) -> None:
    """Somebody who listens is seen without binding, on any address; a connection is nobody who listens."""
    (tmp_path / "tcp6").write_text(TABLE)

    assert listens(port, (tmp_path / "tcp", tmp_path / "tcp6")) is expected


def test_listens_here() -> None:
    """The list of this machine can be read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert listens(server.getsockname()[1])
