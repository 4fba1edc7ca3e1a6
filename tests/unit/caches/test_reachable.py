import os
from dataclasses import replace
from pathlib import Path

import pytest

from obol.caches.reachable import (
    Substitute,
    addresses_of,
    as_it_is,
    has_traces,
    not_ours,
    recall,
    remember,
    settle,
)
from obol.errors import PortTaken
from obol.machine.ports import Holder
from obol.registry.control.api import Listener
from tests.fakes.ports import FakePorts


def test_addresses_of() -> None:
    """Loopback is preferred, any address stands for it, and an IPv6 address is bracketed."""
    listeners = [
        Listener("docker.io", "172.18.0.1", 1),
        Listener("docker.io", "127.0.0.1", 2),
        Listener("ghcr.io", "::", 3),
        Listener("quay.io", "0.0.0.0", 4),
        Listener("example.com", "192.0.2.1", 5),
    ]

    assert addresses_of(listeners) == {
        "docker.io": "http://127.0.0.1:2",
        "ghcr.io": "http://[::1]:3",
        "quay.io": "http://127.0.0.1:4",
        "example.com": "http://192.0.2.1:5",
    }


@pytest.mark.parametrize(
    ("listeners", "base"),
    [
        ((("172.18.0.1", 1), ("127.0.0.1", 2)), "http://127.0.0.1:2"),
        ((("172.18.0.1", 1),), "http://172.18.0.1:1"),
        ((("0.0.0.0", 1),), "http://127.0.0.1:1"),
        ((("::", 1),), "http://[::1]:1"),
        ((("::1", 1),), "http://[::1]:1"),
    ],
)
def test_one_registry(listeners: tuple[tuple[str, int], ...], base: str) -> None:
    """A registry is reached by loopback, if it is served there."""
    assert addresses_of(Listener("docker.io", address, port) for address, port in listeners) == {"docker.io": base}


HUB = Listener("docker.io", "127.0.0.1", 54100)
GHCR = Listener("ghcr.io", "127.0.0.1", 54101)


def test_free() -> None:
    """Where the wanted ports are free, there is nothing to replace."""
    assert settle([HUB, GHCR], {}, FakePorts()) == ()


def test_forgotten_when_free_again() -> None:
    """A wanted port that is free again is used again, whatever was remembered."""
    assert settle([HUB], {"docker.io": Substitute("docker.io", 54100, 40007, "nginx (pid 7)")}, FakePorts()) == ()


def test_taken() -> None:
    """A taken port is replaced by a free one, and who holds it is told."""
    probe = FakePorts({("127.0.0.1", 54100)}, holders={54100: Holder(7, "nginx")})

    assert settle([HUB, GHCR], {}, probe) == (Substitute("docker.io", 54100, 40000, "nginx (pid 7)"),)


def test_taken_on_one_address() -> None:
    """A registry has one port: it is replaced on all addresses when it is taken on one."""
    probe = FakePorts({("172.18.0.1", 54100)})
    wanted = [HUB, Listener("docker.io", "172.18.0.1", 54100)]

    assert settle(wanted, {}, probe) == (Substitute("docker.io", 54100, 40000, ""),)


def test_remembered() -> None:
    """A substitute that served before serves again, while the wanted port stays taken."""
    probe = FakePorts({("127.0.0.1", 54100)})
    remembered = {"docker.io": Substitute("docker.io", 54100, 40007, "gone (pid 1)")}

    assert settle([HUB], remembered, probe) == (Substitute("docker.io", 54100, 40007, ""),)


@pytest.mark.parametrize(
    ("substitute", "wanted"),
    [
        (Substitute("docker.io", 1, 40007, ""), [HUB]),
        (Substitute("docker.io", 54100, 40009, ""), [HUB]),
        (Substitute("docker.io", 54100, 54101, ""), [HUB, GHCR]),
    ],
)
def test_useless_memory(substitute: Substitute, wanted: list[Listener]) -> None:
    """What was remembered for another port, is taken itself or is wanted by another registry is not used."""
    probe = FakePorts({("127.0.0.1", 54100), ("127.0.0.1", 40009)})

    assert settle(wanted, {"docker.io": substitute}, probe)[0].port == 40000


def test_any_port() -> None:
    """A registry that may have any port keeps the one it got."""
    any_port = Listener("x.io", "127.0.0.1", 0)

    first = settle([any_port], {}, FakePorts())
    again = settle([any_port], {"x.io": first[0]}, FakePorts(next_free=[]))

    assert first == again == (Substitute("x.io", 0, 40000, ""),)


def test_two_never_get_the_same() -> None:
    """A free port that another registry wants, or just got, is passed over."""
    probe = FakePorts({("127.0.0.1", 54100), ("127.0.0.1", 54101)}, next_free=[54101, 40000, 40000, 40001])

    assert [found.port for found in settle([HUB, GHCR], {}, probe)] == [40000, 40001]


@pytest.mark.parametrize("next_free", [[], [54100] * 99])
def test_nothing_free(next_free: list[int]) -> None:
    """Where no port can be found, that is an error."""
    with pytest.raises(PortTaken, match=r"no free port on 127\.0\.0\.1"):
        settle([HUB], {}, FakePorts({("127.0.0.1", 54100)}, next_free=next_free))


def test_memory(tmp_path: Path) -> None:
    """What is written down is read again; nothing to remember leaves no file."""
    substitute = Substitute("docker.io", 54100, 40000, "nginx (pid 7)")

    remember(tmp_path, [substitute])
    assert recall(tmp_path) == {"docker.io": substitute}
    assert [path.name for path in tmp_path.iterdir()] == ["ports.json"]

    remember(tmp_path, [])
    assert recall(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


NO_PORT = '[{"registry": "ghcr.io", "wanted": 54101, "port": 99999, "holder": ""}]'


@pytest.mark.parametrize("text", ["", "{}", '[{"registry": 1}]', "\x00", NO_PORT])
def test_spoilt_memory(tmp_path: Path, text: str) -> None:
    """A spoilt file remembers nothing."""
    (tmp_path / "ports.json").write_text(text)

    assert recall(tmp_path) == {}


def test_as_it_is() -> None:
    """Whoever had the port when another was chosen may have ended: then nobody is named, and that is said."""
    known = Substitute("docker.io", 54100, 40000, "nginx (pid 7)")
    probe = FakePorts(taken={("127.0.0.1", 54100)}, holders={54100: Holder(9, "caddy")})

    assert as_it_is(known, ("127.0.0.1",), probe) == replace(known, holder="caddy (pid 9)")
    assert as_it_is(known, ("127.0.0.1",), FakePorts()) == replace(known, holder="", free=True)
    assert as_it_is(replace(known, wanted=0), ("127.0.0.1",), probe) == replace(known, wanted=0)


def test_memory_that_is_no_file(tmp_path: Path) -> None:
    """A pipe or a device in the place of the file is neither read, nor written, nor removed."""
    os.mkfifo(tmp_path / "ports.json")

    assert recall(tmp_path) == {}
    for substitutes in ([], [Substitute("docker.io", 54100, 40000, "")]):
        with pytest.raises(OSError, match="a named pipe"):
            remember(tmp_path, substitutes)
    assert [path.name for path in tmp_path.iterdir()] == ["ports.json"]


@pytest.mark.parametrize(("holder", "told"), [("python -m obol (pid 7)", ""), ("nginx (pid 17)", "nginx (pid 17)")])
def test_our_own_engine_is_no_holder(holder: str, told: str) -> None:
    """An engine that has the port at another address is not named as the one who took it."""
    assert not_ours(Substitute("docker.io", 54100, 41000, holder), 7).holder == told


@pytest.mark.parametrize(
    ("directory", "expected"), [("builtin", False), ("gateway", False), ("docker.io", True), ("", False)]
)
def test_traces(tmp_path: Path, directory: str, expected: bool) -> None:
    """A directory that is not the builtin engine's own is that of a container."""
    (tmp_path / directory).mkdir(exist_ok=True)
    (tmp_path / "obol.toml").touch()

    assert has_traces(tmp_path) is expected
    assert not has_traces(tmp_path / "nowhere")
