import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from obol.machine import ports
from obol.machine.ports import Holder, bracketed, holder, is_free, is_ours, listens, pick_free

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:D354 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:D355 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_taken(taken: int) -> None:
    """A port on which somebody listens is not free, nor is it on every address at once."""
    assert not is_free("127.0.0.1", taken)
    assert not is_free("0.0.0.0", taken)
    assert is_free("127.0.0.2", taken)


def test_absent_address() -> None:
    """On an address that this machine does not have nobody can hold a port."""
    assert is_free("192.0.2.1", 54100)


def test_ipv6_is_apart(taken: int) -> None:
    """A port that is taken on IPv4 is free on IPv6."""
    assert is_free("::1", taken)


def test_pick_free() -> None:
    """A picked port can be used on all the addresses."""
    port = pick_free(("127.0.0.1", "127.0.0.2"))

    assert is_free("127.0.0.1", port)
    assert is_free("127.0.0.2", port)


def test_nothing_to_pick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no port is free on all addresses, that is an error, not an endless search."""
    monkeypatch.setattr(ports, "is_free", lambda _address, _port: False)

    with pytest.raises(OSError, match="no port is free"):
        pick_free(("127.0.0.1", "127.0.0.2"))


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="only Linux tells")  # noqa: PTH110 - a link into /proc is no path
def test_holder_here(taken: int) -> None:
    """The holder of our own port is this process."""
    found = holder(taken)

    assert found is not None
    assert found.pid == os.getpid()
    assert str(found) == f"{found.name} (pid {found.pid})"


def fake_proc(root: Path) -> Path:
    """A /proc with one table and a few processes."""
    (root / "net").mkdir()
    (root / "net/tcp").write_text(TABLE)
    for pid, target in ((10, "/dev/null"), (20, "socket:[111]"), (30, "socket:[222]")):
        (root / str(pid) / "fd").mkdir(parents=True)
        (root / str(pid) / "fd" / "3").symlink_to(target)
        (root / str(pid) / "comm").write_text("nginx\n")
        (root / str(pid) / "cmdline").write_bytes(b"/usr/sbin/nginx\0-g\0daemon off;\0")
    (root / "40").mkdir()
    (root / "self").symlink_to("20")
    return root


def test_holder(tmp_path: Path) -> None:
    """A holder is found by the socket's inode; a connection from that port is no holder."""
    proc = fake_proc(tmp_path)

    assert holder(0xD354, proc) == Holder(20, "nginx")
    assert holder(0xD355, proc) is None
    assert holder(1, proc) is None


def test_interpreted_holder(tmp_path: Path) -> None:
    """A holder that is an interpreter is named with what it interprets."""
    proc = fake_proc(tmp_path)
    (proc / "20/comm").write_text("python3\n")
    (proc / "20/cmdline").write_bytes(b"/usr/bin/python3\0-m\0http.server\0--bind\0")

    assert holder(0xD354, proc) == Holder(20, "python3 -m http.server")


def test_holder_of_somebody_else(tmp_path: Path) -> None:
    """What we may not see has no name, and is no error."""
    proc = fake_proc(tmp_path)
    (proc / "20/comm").unlink()

    assert holder(0xD354, proc) == Holder(20, "a process")

    (proc / "20/fd/3").unlink()
    assert holder(0xD354, proc) is None
    assert holder(0xD354, proc / "absent") is None


@pytest.mark.parametrize(("port", "expected"), [(0xD354, True), (0xD355, False), (8080, False)])
def test_listens(tmp_path: Path, port: int, expected: bool) -> None:
    """Somebody who listens is seen without binding, on any address; a connection is nobody who listens."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/tcp6").write_text(TABLE)

    assert listens(port, tmp_path) is expected


def test_listens_here(taken: int) -> None:
    """The list of this machine can be read."""
    assert listens(taken)


@pytest.mark.parametrize(("address", "ours"), [("127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False)])
def test_is_ours(address: str, ours: bool) -> None:
    """Loopback is an address of this machine; those that are set apart for documents are nobody's."""
    assert is_ours(address) is ours


def test_bracketed() -> None:
    """An address of IPv6 stands between brackets where a port follows it; another one does not."""
    assert (bracketed("::1"), bracketed("127.0.0.1")) == ("[::1]", "127.0.0.1")
