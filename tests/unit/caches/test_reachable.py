from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.reachable import addresses_of, planned_listeners
from obol.caches.substitutes import Substitute, remember
from obol.registry.control.api import Listener

if TYPE_CHECKING:
    from pathlib import Path


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


def test_planned_listeners(tmp_path: Path) -> None:
    """A substitute counts while its port is still wanted; a port that nobody chose is left out."""
    remember(tmp_path, [Substitute("docker.io", 54100, 40000, ""), Substitute("ghcr.io", 1, 40001, "")])
    wanted = (
        Listener("docker.io", "127.0.0.1", 54100),
        Listener("ghcr.io", "127.0.0.1", 54101),
        Listener("quay.io", "127.0.0.1", 0),
    )

    assert planned_listeners(BuiltinPlan(tmp_path, wanted)) == (
        Listener("docker.io", "127.0.0.1", 40000),
        Listener("ghcr.io", "127.0.0.1", 54101),
    )
